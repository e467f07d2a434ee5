/* The most that an HTTP server can reach on this machine, for scripts/bench serve: reads a request without parsing it, and
 * writes a fixed response. One thread for each core, with epoll.
 *
 * usage: floor PORT THREADS RESPONSE-FILE
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char response[65536];
static size_t response_length;
static int port;

/* wrk sends each request in one piece, and waits for its response. */
static void serve(int client) {
    char request[4096];
    ssize_t length = read(client, request, sizeof request);
    if (length < 4 || memcmp(request + length - 4, "\r\n\r\n", 4) != 0 ||
        send(client, response, response_length, MSG_NOSIGNAL) != (ssize_t)response_length) {
        close(client);
    }
}

static void *work(void *unused) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    (void)unused;
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) {
        perror("listen");
        exit(1);
    }
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd);
                continue;
            }
            int client = accept(listener, NULL, NULL);
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = client};
            epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
        }
    }
    return NULL;
}

int main(int count, char **arguments) {
    FILE *file = count == 4 ? fopen(arguments[3], "r") : NULL;
    if (!file) {
        fputs("usage: floor PORT THREADS RESPONSE-FILE\n", stderr);
        return 2;
    }
    port = atoi(arguments[1]);
    response_length = fread(response, 1, sizeof response, file);
    for (int threads = atoi(arguments[2]); threads > 1; threads--) {
        pthread_t thread;
        pthread_create(&thread, NULL, work, NULL);
    }
    work(NULL);
}
