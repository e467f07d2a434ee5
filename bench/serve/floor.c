/* The upper limit for an HTTP server on this machine, for scripts/bench serve: finds the end of a request's headers and
 * writes a fixed response. One thread for each core, epoll, no HTTP parsing.
 *
 * usage: bench-floor PORT THREADS ANSWER-FILE
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

enum { EVENTS = 256, REQUEST_BYTES = 4096, ANSWER_BYTES = 65536 };

static char answer[ANSWER_BYTES];
static size_t answer_length;
static int port;

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

/* Requests of one client do not overlap, and each comes in one piece: that is how wrk sends them. */
static void serve(int client) {
    char request[REQUEST_BYTES];
    ssize_t length = read(client, request, sizeof request);
    if (length < 4 || memcmp(request + length - 4, "\r\n\r\n", 4) != 0 ||
        send(client, answer, answer_length, MSG_NOSIGNAL) != (ssize_t)answer_length) {
        close(client);
    }
}

static void *work(void *unused) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    (void)unused;
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    check(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(listener, 4096) == 0, "listen");
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
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
    check(count == 4, "usage: bench-floor PORT THREADS ANSWER-FILE");
    port = atoi(arguments[1]);
    FILE *file = fopen(arguments[3], "r");
    check(file != NULL, arguments[3]);
    answer_length = fread(answer, 1, sizeof answer, file);
    for (int threads = atoi(arguments[2]); threads > 1; threads--) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, work, NULL) == 0, "pthread_create");
    }
    return work(NULL) != NULL;
}
