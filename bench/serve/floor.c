/* The most that an HTTP server can reach on this machine, for scripts/bench serve: reads requests without parsing them, and
 * writes a fixed response. One thread with epoll; several processes can share a port.
 *
 * usage: floor PORT RESPONSE-FILE
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256 };

int main(int count, char **arguments) {
    static char response[65536], request[4096];
    FILE *file = count == 3 ? fopen(arguments[2], "r") : NULL;
    if (!file) {
        fputs("usage: floor PORT RESPONSE-FILE\n", stderr);
        return 2;
    }
    ssize_t length = fread(response, 1, sizeof response, file);

    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) {
        perror("listen");
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int client = events[i].data.fd;
            if (client == listener) {
                event.data.fd = client = accept(listener, NULL, NULL);
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
            } else if (read(client, request, sizeof request) <= 0 /* wrk sends a request in one piece */ ||
                       send(client, response, length, MSG_NOSIGNAL) != length) {
                close(client);
            }
        }
    }
}
