/* The floor of a sweep: pread every file of a list on descriptors that stay open, as often as asked.
 *
 * argv[1] names a file with one path per line. For every line on stdin it reads all of them once and prints the CPU
 * time of that sweep (user and system of this process) in nanoseconds and the number of bytes read.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536, SIZE = 65536 };

static long long cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv)
{
	static int fds[MOST];
	static char line[4096], buffer[SIZE];
	int count = 0;

	FILE *list = argc == 2 ? fopen(argv[1], "r") : NULL;
	if (!list)
		return 2;
	while (fgets(line, sizeof line, list) && count < MOST) {
		line[strcspn(line, "\n")] = 0;
		fds[count] = open(line, O_RDONLY | O_CLOEXEC);
		if (fds[count++] < 0) {
			perror(line);
			return 1;
		}
	}
	while (fgets(line, sizeof line, stdin)) {
		long long started = cpu_ns(), bytes = 0;
		for (int i = 0; i < count; i++) {
			ssize_t got = pread(fds[i], buffer, SIZE, 0);
			if (got < 0)
				return 1;
			bytes += got;
		}
		printf("%lld %lld\n", cpu_ns() - started, bytes);
		fflush(stdout);
	}
	return 0;
}
