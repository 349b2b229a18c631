// floor: the physical limit on this machine. A C epoll server that knows only wsload's fixed
// handshake key and writes each received text frame to all connections, if it says "move" to the
// others of the four that connected together, if it says "echo" or "join" to its sender: one send()
// per delivery, nothing else. Build: cc -O2 -o floor floor.c; run: floor PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
typedef struct {
  int fd, up, index;
  size_t len;
  unsigned char buf[4096];
} C;
static C *all[1 << 17];
static int n = 0;
int main(int ac, char **av) {
  int port = atoi(av[1]), one = 1;
  struct rlimit rl;
  getrlimit(RLIMIT_NOFILE, &rl);
  rl.rlim_cur = rl.rlim_max;
  setrlimit(RLIMIT_NOFILE, &rl);
  int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in s = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, "127.0.0.1", &s.sin_addr);
  if (bind(l, (void *)&s, sizeof s) || listen(l, 4096))
    return perror("bind"), 1;
  int ep = epoll_create1(0);
  struct epoll_event e = {EPOLLIN, {.ptr = 0}}, ev[512];
  epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
  for (;;) {
    int k = epoll_wait(ep, ev, 512, -1);
    for (int i = 0; i < k; i++) {
      C *c = ev[i].data.ptr;
      if (!c) {
        int fd;
        while ((fd = accept4(l, 0, 0, SOCK_NONBLOCK)) >= 0) {
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          c = calloc(1, sizeof *c);
          c->fd = fd;
          c->index = n;
          all[n++] = c;
          e.data.ptr = c;
          epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
        }
        continue;
      }
      ssize_t r = recv(c->fd, c->buf + c->len, sizeof c->buf - c->len, 0);
      if (r <= 0) {
        if (r < 0 && errno == EAGAIN)
          continue;
        close(c->fd);
        for (int j = 0; j < n; j++)
          if (all[j] == c) {
            all[j] = all[--n];
            all[j]->index = j;
            break;
          }
        free(c);
        continue;
      }
      c->len += r;
      size_t o = 0;
      if (!c->up) {
        unsigned char *x = memmem(c->buf, c->len, "\r\n\r\n", 4);
        if (!x)
          continue;
        o = x - c->buf + 4;
        c->up = 1;
        const char *h = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
                        "Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        send(c->fd, h, strlen(h), 0);
      }
      while (c->len - o >= 6) {
        unsigned char *b = c->buf + o;
        size_t h = 2, m = b[1] & 127;
        if (m == 126) {
          m = b[2] << 8 | b[3];
          h = 4;
        }
        if (c->len - o < h + 4 + m)
          break;
        unsigned char f[4096];
        memcpy(f, b, h);
        f[1] &= 127;
        for (size_t j = 0; j < m; j++)
          f[h + j] = b[h + 4 + j] ^ b[h + (j & 3)];
        int first = c->index, end = first + 1, self = 1;
        if (memmem(f + h, m, "\"move\"", 6)) {
          first = c->index / 4 * 4;
          end = first + 4 < n ? first + 4 : n;
          self = 0;
        } else if (!memmem(f + h, m, "\"echo\"", 6) && !memmem(f + h, m, "\"join\"", 6)) {
          first = 0;
          end = n;
        }
        for (int j = first; j < end; j++)
          if (self || all[j] != c)
            send(all[j]->fd, f, h + m, MSG_NOSIGNAL);
        o += h + 4 + m;
      }
      memmove(c->buf, c->buf + o, c->len - o);
      c->len -= o;
    }
  }
}
