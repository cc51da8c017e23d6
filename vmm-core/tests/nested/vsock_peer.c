/* The guest's end of the vsock tests.
 *   vsock-peer echo PORT      takes one connection and sends back all that it reads
 *   vsock-peer say PORT TEXT  connects to the host, sends TEXT, prints what it reads to the end
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void copy(int from, int to)
{
    char buffer[16384];
    ssize_t got;
    while ((got = read(from, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < got;) {
            ssize_t put = write(to, buffer + at, got - at);
            must(put > 0, "write");
            at += put;
        }
    }
    must(got == 0, "read");
}

int main(int argc, char **argv)
{
    struct sockaddr_vm address = { .svm_family = AF_VSOCK };
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    must(fd >= 0, "socket");
    must(argc >= 3, "arguments");
    address.svm_port = atoi(argv[2]);
    if (!strcmp(argv[1], "echo")) {
        address.svm_cid = VMADDR_CID_ANY;
        must(!bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
        must(!listen(fd, 8), "listen");
        printf("listening\n");
        fflush(stdout);
        int peer = accept(fd, NULL, NULL);
        must(peer >= 0, "accept");
        copy(peer, peer);
        must(!shutdown(peer, SHUT_WR), "shutdown");
        close(peer);
    } else {
        address.svm_cid = VMADDR_CID_HOST;
        must(!connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
        must(write(fd, argv[3], strlen(argv[3])) == (ssize_t)strlen(argv[3]), "write");
        must(!shutdown(fd, SHUT_WR), "shutdown");
        copy(fd, 1);
    }
    return 0;
}
