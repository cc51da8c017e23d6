/* Writes one byte to an I/O port:  port-write PORT VALUE */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    unsigned short port = strtoul(words[1], NULL, 0);
    if (ioperm(port, 1, 1) != 0) {
        perror("ioperm");
        return 1;
    }
    outb(strtoul(words[2], NULL, 0), port);
    return 0;
}
