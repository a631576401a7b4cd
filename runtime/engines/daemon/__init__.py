"""What the daemons' engines share: HTTP over a unix socket, their streams, and the shape of their documents."""
