/* A process for a cgroup: `load busy` wakes four times a second and takes memory or gives it back, so that CPU time and
 * memory in use are others in each second; `load idle` sleeps. Both end with their parent.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* The kernel charges 64 pages at once: more than that is taken in a second. */
enum { STEP = 48 * 4096, STEPS = 9 };

int main(int argc, char **argv)
{
	struct timespec pause_250ms = { 0, 250 * 1000 * 1000 };
	char *block = MAP_FAILED;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 2 || strcmp(argv[1], "busy") != 0)
		for (;;)
			pause();
	for (unsigned turn = getpid();; turn++) {
		if (turn % STEPS == 0 && block != MAP_FAILED) {
			munmap(block, STEP * STEPS);
			block = MAP_FAILED;
		}
		if (block == MAP_FAILED)
			block = mmap(NULL, STEP * STEPS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block != MAP_FAILED)
			memset(block + turn % STEPS * STEP, (int)turn, STEP);
		nanosleep(&pause_250ms, NULL);
	}
}
