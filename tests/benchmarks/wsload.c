// wsload: a closed-loop WebSocket load generator, single-threaded epoll, loopback only.
// Build: cc -O2 -o wsload wsload.c
// Modes: echo   every client sends FRAME, waits for its answer, sends the next
//        fanout the first S clients (--senders, 1) send FRAME in turn, every client receives it,
//               W are in flight
//        rooms  the clients are in rooms of --group (4); each sends FRAME to its room, and again
//               when all others have it, or all together --rate N times a second, in turn
//        idle   connect everybody, hold, report the server's memory and the cost of connecting
// --port P[,P] gives the clients to several workers in turn; client 0 is on the first.
// --frame may be given several times: a client sends them in turn. "########" in a frame becomes
// a running number, so that no two messages are equal; with rooms, the number of the client,
// after an "@", and "~~~~~~" becomes that of its room, in --init too. --init frames are
// sent after the handshake, each when the one before is answered, and --wait-init K frames awaited
// before the traffic starts: the answers, and what comes before them unasked. --deflate offers
// permessage-deflate as browsers do; --zframe HEX is a deflated frame to send. --eio answers
// Engine.IO's pings. --awake: never sleep while measuring: to wake a receiver is work that the
// system does for, and charges to, who sends.
// It prints one JSON line: deliveries/s, latencies, and the CPU and memory of --pid P[,P]
// (from /proc).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
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
#include <time.h>
#include <unistd.h>

#define MAXF 16
typedef struct {
  int fd;
  int state;
  int frames;
  long got;
  char *buf;
  size_t len, cap;
  long fired;
  double t_sent;
  int index;
  long heard; // by the others of its room
  char *out;
  size_t outlen;
} Client;
static const char *path = "/", *mode = "echo", *init_frames[MAXF];
static char *frames[MAXF], *holes[MAXF], *rooms[MAXF], *zframe = 0;
static size_t zlen = 0;
static int ports[16] = {8000}, nports = 1, nclients = 100, nsenders = 1, window = 1, wait_init = 0,
           n_init = 0, n_frames = 0, deflate = 0, eio = 0, awake = 0, group = 4;
static double duration = 5, warmup = 0.3, rate = 0;
static int pids[64], npids = 0;
static Client *cl;
static int ep, ready = 0, measuring = 0, pacing = 0, stop = 0;
static long total = 0, sent = 0, base_total = 0, heard = 0;
static double *sent_at;
static long ring = 1 << 16;
static double *lat;
static long nlat = 0, caplat = 0;
static long rsv1 = 0, bytes_in = 0;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}
static void die(const char *m) {
  perror(m);
  exit(1);
}
static double cpu_of_threads(int pid) { // in ns; 0 if the kernel keeps no such statistics
  char p[320];
  snprintf(p, sizeof p, "/proc/%d/task", pid);
  DIR *threads = opendir(p);
  double all = 0;
  for (struct dirent *e; threads && (e = readdir(threads));) {
    unsigned long long ns = 0;
    snprintf(p, sizeof p, "/proc/%d/task/%s/schedstat", pid, e->d_name);
    FILE *f = e->d_name[0] == '.' ? 0 : fopen(p, "r");
    if (!f)
      continue;
    if (fscanf(f, "%llu", &ns) == 1)
      all += ns * 1e-9;
    fclose(f);
  }
  if (threads)
    closedir(threads);
  return all;
}
static double cpu_of(int pid) {
  char p[64], b[1024];
  double exact = cpu_of_threads(pid);
  if (exact > 0)
    return exact;
  snprintf(p, 64, "/proc/%d/stat", pid);
  FILE *f = fopen(p, "r");
  if (!f)
    return 0;
  size_t n = fread(b, 1, 1023, f);
  fclose(f);
  b[n] = 0;
  char *q = strrchr(b, ')');
  unsigned long u = 0, s = 0;
  sscanf(q + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &s);
  return (double)(u + s) / sysconf(_SC_CLK_TCK);
}
static long rss_of(int pid) {
  char p[64];
  snprintf(p, 64, "/proc/%d/statm", pid);
  FILE *f = fopen(p, "r");
  if (!f)
    return 0;
  long a, r = 0;
  if (fscanf(f, "%ld %ld", &a, &r) != 2)
    r = 0;
  fclose(f);
  return r * sysconf(_SC_PAGESIZE);
}
static double cpu_all(void) {
  double c = 0;
  for (int i = 0; i < npids; i++)
    c += cpu_of(pids[i]);
  return c;
}
static long rss_all(void) {
  long c = 0;
  for (int i = 0; i < npids; i++)
    c += rss_of(pids[i]);
  return c;
}

static void flush_out(Client *c) {
  while (c->outlen) {
    ssize_t n = send(c->fd, c->out, c->outlen, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) {
        struct epoll_event e = {EPOLLIN | EPOLLOUT, {.ptr = c}};
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
        return;
      }
      die("send");
    }
    memmove(c->out, c->out + n, c->outlen - n);
    c->outlen -= n;
  }
}
static void raw(Client *c, const void *d, size_t n) {
  c->out = realloc(c->out, c->outlen + n);
  memcpy(c->out + c->outlen, d, n);
  c->outlen += n;
  flush_out(c);
}
static void ws_send(Client *c, int op, const char *s, size_t n) {
  unsigned char *b = malloc(n + 14);
  size_t h = 0;
  b[h++] = 0x80 | op;
  if (n < 126)
    b[h++] = 0x80 | n;
  else if (n < 65536) {
    b[h++] = 0x80 | 126;
    b[h++] = n >> 8;
    b[h++] = n;
  } else {
    b[h++] = 0x80 | 127;
    for (int i = 7; i >= 0; i--)
      b[h++] = (uint64_t)n >> (8 * i);
  }
  unsigned char k[4] = {0x12, 0x34, 0x56, 0x78};
  memcpy(b + h, k, 4);
  h += 4;
  for (size_t i = 0; i < n; i++)
    b[h + i] = s[i] ^ k[i & 3];
  raw(c, b, h + n);
  free(b);
}
static void add_lat(double v) {
  if (nlat == caplat) {
    caplat = caplat ? caplat * 2 : 1 << 16;
    lat = realloc(lat, caplat * sizeof(double));
  }
  lat[nlat++] = v;
}
static void fill(char *hole, int digits, long number) {
  char d[24];
  snprintf(d, sizeof d, "%0*ld", digits, number);
  memcpy(hole, d, digits);
}
static void fire(Client *c) {
  c->t_sent = now();
  sent_at[sent % ring] = c->t_sent;
  sent++;
  if (zframe) {
    ws_send(c, 0x41, zframe, zlen);
    return;
  }
  int k = c->fired++ % n_frames;
  if (holes[k])
    fill(holes[k], 8, strcmp(mode, "rooms") ? sent % 100000000 : c->index);
  if (rooms[k])
    fill(rooms[k], 6, c->index / group);
  ws_send(c, 1, frames[k], strlen(frames[k]));
}
static void pace(void) {
  static double next = 0;
  static int turn = 0;
  double t = now();
  if (t - next > 0.05)
    next = t; // what was missed is not made good
  for (; next <= t; next += 1 / rate)
    fire(&cl[turn++ % nclients]);
}
static void start_traffic(void) {
  pacing = rate > 0;
  if (!strcmp(mode, "echo") || (!strcmp(mode, "rooms") && !pacing)) {
    for (int i = 0; i < nclients; i++)
      for (int w = 0; w < window; w++)
        fire(&cl[i]);
  } else if (!strcmp(mode, "fanout"))
    for (int w = 0; w < window; w++)
      fire(&cl[sent % nsenders]);
}
static void on_move(Client *c, const char *d, size_t n, double t) {
  const char *at = memchr(d, '@', n);
  int who = at ? atoi(at + 1) : -1;
  if (who < 0 || who >= nclients || who / group != c->index / group) {
    fprintf(stderr, "client %d got what is not for it: %.*s\n", c->index, (int)n, d);
    exit(1);
  }
  if (who == c->index || ++cl[who].heard % (group - 1))
    return;
  heard++;
  if (measuring)
    add_lat(t - cl[who].t_sent);
  if (!stop && !pacing)
    fire(&cl[who]);
}
static void send_init(Client *c, int k) {
  char *text = strdup(init_frames[k]), *room = strstr(text, "~~~~~~");
  if (room)
    fill(room, 6, c->index / group);
  ws_send(c, 1, text, strlen(text));
  free(text);
}
static void on_text(Client *c, const char *d, size_t n, int comp) {
  if (eio && n == 1 && d[0] == '2') {
    ws_send(c, 1, "3", 1);
    return;
  }
  if (c->state < 2) {
    int answered = ++c->frames - (wait_init - n_init);
    if (answered > 0 && answered < n_init)
      send_init(c, answered);
    if (c->frames >= wait_init) {
      c->state = 2;
      ready++;
    }
    return;
  }
  if (comp)
    rsv1++;
  bytes_in += n;
  total++;
  double t = now();
  if (!strcmp(mode, "echo")) {
    if (measuring)
      add_lat(t - c->t_sent);
    if (!stop)
      fire(c);
  } else if (!strcmp(mode, "rooms"))
    on_move(c, d, n, t);
  else if (!strcmp(mode, "fanout")) {
    if (measuring)
      add_lat(t - sent_at[c->got % ring]);
    c->got++;
    long done = (total - base_total) / nclients;
    while (!stop && sent - done < window)
      fire(&cl[sent % nsenders]);
  }
}
static void parse(Client *c) {
  size_t o = 0;
  if (c->state == 0) {
    char *e = memmem(c->buf, c->len, "\r\n\r\n", 4);
    if (!e)
      return;
    if (strncmp(c->buf, "HTTP/1.1 101", 12)) {
      fprintf(stderr, "handshake: %.*s\n", (int)(c->len > 300 ? 300 : c->len), c->buf);
      exit(1);
    }
    o = e - c->buf + 4;
    c->state = 1;
    if (n_init)
      send_init(c, 0);
    if (wait_init == 0) {
      c->state = 2;
      ready++;
    }
  }
  while (c->len - o >= 2) {
    unsigned char *b = (unsigned char *)c->buf + o;
    size_t h = 2;
    uint64_t n = b[1] & 127;
    if (n == 126) {
      if (c->len - o < 4)
        break;
      n = b[2] << 8 | b[3];
      h = 4;
    } else if (n == 127) {
      if (c->len - o < 10)
        break;
      n = 0;
      for (int i = 0; i < 8; i++)
        n = n << 8 | b[2 + i];
      h = 10;
    }
    if (c->len - o < h + n)
      break;
    int op = b[0] & 15;
    if (op == 1 || op == 2)
      on_text(c, (char *)b + h, n, b[0] & 0x40);
    else if (op == 9)
      ws_send(c, 10, (char *)b + h, n);
    else if (op == 8) {
      fprintf(stderr, "client %d closed by server: %d\n", c->index,
              n >= 2 ? b[h] << 8 | b[h + 1] : 0);
      exit(1);
    }
    o += h + n;
  }
  memmove(c->buf, c->buf + o, c->len - o);
  c->len -= o;
}
static void on_read(Client *c) {
  for (;;) {
    if (c->cap - c->len < 65536) {
      c->cap = c->len + 131072;
      c->buf = realloc(c->buf, c->cap);
    }
    ssize_t n = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
    if (n < 0) {
      if (errno == EAGAIN)
        return;
      die("recv");
    }
    if (n == 0) {
      fprintf(stderr, "client %d: server closed TCP\n", c->index);
      exit(1);
    }
    size_t room = c->cap - c->len;
    c->len += n;
    parse(c);
    if ((size_t)n < room)
      break;
  }
  if (!strcmp(mode, "idle") && c->len == 0) {
    free(c->buf);
    c->buf = 0;
    c->cap = 0;
  }
}
static void pump(double until, int want_ready) {
  struct epoll_event ev[512];
  while (now() < until && !(want_ready && ready >= want_ready)) {
    int n = epoll_wait(ep, ev, 512, (awake && measuring) || pacing ? 0 : 5);
    if (pacing)
      pace();
    for (int i = 0; i < n; i++) {
      Client *c = ev[i].data.ptr;
      if (ev[i].events & EPOLLOUT) {
        struct epoll_event e = {EPOLLIN, {.ptr = c}};
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
        flush_out(c);
      }
      if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_read(c);
    }
  }
}
static int cmp(const void *a, const void *b) {
  double x = *(double *)a, y = *(double *)b;
  return x < y ? -1 : x > y;
}
static double pct(double p) {
  return nlat ? lat[(long)(p * (nlat - 1))] * 1e6 : 0;
}
int main(int ac, char **av) {
  for (int i = 1; i < ac; i++) {
    char *a = av[i];
#define OPT(s) (!strcmp(a, s) && i + 1 < ac)
    if (OPT("--port")) {
      char *s = strdup(av[++i]), *t;
      for (nports = 0, t = strtok(s, ","); t && nports < 16; t = strtok(0, ","))
        ports[nports++] = atoi(t);
    } else if (OPT("--path"))
      path = av[++i];
    else if (OPT("--mode"))
      mode = av[++i];
    else if (OPT("--clients"))
      nclients = atoi(av[++i]);
    else if (OPT("--window"))
      window = atoi(av[++i]);
    else if (OPT("--senders"))
      nsenders = atoi(av[++i]);
    else if (OPT("--wait-init"))
      wait_init = atoi(av[++i]);
    else if (OPT("--init"))
      init_frames[n_init++] = av[++i];
    else if (OPT("--frame") && n_frames < MAXF) {
      frames[n_frames] = strdup(av[++i]);
      holes[n_frames] = strstr(frames[n_frames], "########");
      rooms[n_frames] = strstr(frames[n_frames], "~~~~~~");
      n_frames++;
    } else if (OPT("--duration"))
      duration = atof(av[++i]);
    else if (OPT("--warmup"))
      warmup = atof(av[++i]);
    else if (OPT("--group"))
      group = atoi(av[++i]);
    else if (OPT("--rate"))
      rate = atof(av[++i]);
    else if (OPT("--zframe")) {
      const char *hex = av[++i];
      zlen = strlen(hex) / 2;
      zframe = malloc(zlen);
      for (size_t k = 0; k < zlen; k++) {
        unsigned byte = 0;
        sscanf(hex + 2 * k, "%2x", &byte);
        zframe[k] = byte;
      }
    } else if (OPT("--pid")) {
      char *s = strdup(av[++i]), *t;
      for (t = strtok(s, ", \n"); t; t = strtok(0, ", \n"))
        pids[npids++] = atoi(t);
    } else if (!strcmp(a, "--deflate"))
      deflate = 1;
    else if (!strcmp(a, "--eio"))
      eio = 1;
    else if (!strcmp(a, "--awake"))
      awake = 1;
    else {
      fprintf(stderr, "unknown option %s\n", a);
      return 2;
    }
  }
  if (!n_frames)
    frames[n_frames++] = "{\"event\":\"noti\",\"message\":\"hello\"}";
  struct rlimit rl;
  getrlimit(RLIMIT_NOFILE, &rl);
  rl.rlim_cur = rl.rlim_max;
  setrlimit(RLIMIT_NOFILE, &rl);
  ep = epoll_create1(0);
  cl = calloc(nclients, sizeof *cl);
  sent_at = calloc(ring, sizeof(double));
  long rss0 = rss_all();
  double c0 = cpu_all(), t0 = now();
  for (int i = 0; i < nclients; i++) {
    Client *c = &cl[i];
    c->index = i;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in src = {.sin_family = AF_INET};
    char sip[32];
    snprintf(sip, 32, "127.0.0.%d", 2 + i / 20000);
    inet_pton(AF_INET, sip, &src.sin_addr);
    if (nclients > 20000)
      bind(c->fd, (void *)&src, sizeof src);
    int port = ports[i % nports];
    struct sockaddr_in s = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &s.sin_addr);
    if (connect(c->fd, (void *)&s, sizeof s))
      die("connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {EPOLLIN, {.ptr = c}};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
    char req[4096];
    int n = snprintf(
        req, sizeof req,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        path, port);
    if (deflate)
      n += snprintf(req + n, sizeof req - n,
                    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    n += snprintf(req + n, sizeof req - n, "\r\n");
    raw(c, req, n);
    int lag = 64; // fewer than any server's backlog
    pump(now() + (i - ready > lag ? 5 : 0), i - lag);
  }
  pump(now() + 60, nclients);
  double t_conn = now() - t0;
  if (ready < nclients) {
    fprintf(stderr, "only %d of %d clients ready\n", ready, nclients);
    return 1;
  }
  pump(now() + 0.2, 0); // what is left to do for the last ones
  double conn_cpu = cpu_all() - c0;
  long rss1 = rss_all();
  double cpu = 0, el = 0;
  long before = 0, d = 0, msgs = 0;
  if (strcmp(mode, "idle")) {
    base_total = total;
    sent = 0;
    for (int i = 0; i < nclients; i++)
      cl[i].got = 0;
    start_traffic();
    pump(now() + warmup, 0);
    measuring = 1;
    before = total;
    long heard0 = heard;
    double c1 = cpu_all(), t1 = now();
    pump(now() + duration, 0);
    el = now() - t1;
    cpu = cpu_all() - c1;
    d = total - before;
    msgs = heard - heard0;
    measuring = 0;
  } else {
    double c1 = cpu_all(), t1 = now();
    pump(now() + duration, 0);
    el = now() - t1;
    cpu = cpu_all() - c1;
  }
  stop = 1;
  qsort(lat, nlat, sizeof(double), cmp);
  printf("{\"clients\":%d,\"window\":%d,\"connect_per_s\":%.0f,\"connect_cpu_us\":%"
         ".1f,\"rss_per_client_kb\":%.2f,\"rss_mb\":%.1f,\"deliveries\":%ld,\"per_s\":%.0f,\"p50_"
         "us\":%.0f,\"p99_us\":%.0f,\"max_us\":%.0f,\"server_cpu_s\":%.2f,\"cpu_util\":%.2f,\"cpu_"
         "us_per_delivery\":%.3f,\"messages_per_s\":%.0f,\"cpu_us_per_message\":%.3f,"
         "\"compressed\":%ld,\"bytes_per_delivery\":%.1f}\n",
         nclients, window, nclients / t_conn, conn_cpu / nclients * 1e6,
         (rss1 - rss0) / 1024.0 / nclients, rss1 / 1048576.0, d, el > 0 ? d / el : 0, pct(.5),
         pct(.99), nlat ? lat[nlat - 1] * 1e6 : 0, cpu, el > 0 ? cpu / el : 0,
         d ? cpu / d * 1e6 : 0, el > 0 ? msgs / el : 0, msgs ? cpu / msgs * 1e6 : 0, rsv1,
         total ? (double)bytes_in / total : 0);
  return 0;
}
