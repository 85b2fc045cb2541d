/* Preloaded into a Python process: counts the system calls on one folder, and spoils the k-th.

   Python reaches the kernel through these functions of the C library. Between faults_arm() and faults_disarm()
   each call on a path in the folder, or on a file open there, is counted and logged as
   "name <tab> result <tab> path [<tab> second path]"; result is what it returned, or -errno. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTHING, FAIL, CUT, KILL, KILL_AMID }; /* as in faults.py */

static struct {
    int armed, kind, at, error, sticky, count, fired;
    size_t piece; /* no write takes more at once */
    char folder[4096];
} plan;
static char log_[1 << 20];
static size_t logged;

void faults_arm(const char *folder, int kind, int at, int error, int sticky, size_t piece) {
    snprintf(plan.folder, sizeof plan.folder, "%s", folder);
    plan.kind = kind, plan.at = at, plan.error = error, plan.sticky = sticky, plan.piece = piece;
    plan.count = plan.fired = 0, logged = 0, log_[0] = 0;
    plan.armed = 1;
}

/* Whether the plan struck; *text is the log. */
int faults_disarm(const char **text) {
    plan.armed = 0;
    *text = log_;
    return plan.fired;
}

static int within(const char *path) {
    size_t n = strlen(plan.folder);
    return plan.armed && !strncmp(path, plan.folder, n) && (path[n] == '/' || !path[n]);
}

static int opened_within(int fd, char *path, size_t size) {
    char link[64];
    if (!plan.armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return within(path);
}

static long note(const char *name, long result, const char *path, const char *second) {
    int error = errno;
    int n = snprintf(log_ + logged, sizeof log_ - logged, "%s\t%ld\t%s%s%s\n", name,
                     result < 0 ? -(long)error : result, path, *second ? "\t" : "", second);
    if (n > 0 && logged + n < sizeof log_) logged += n;
    errno = error;
    return result;
}

/* Count a call; die before it, or say whether it fails. */
static int strikes(void) {
    int now = ++plan.count == plan.at;
    if (now) plan.fired = 1;
    if (now && plan.kind == KILL) kill(getpid(), SIGKILL);
    if (plan.kind != FAIL || !(now || (plan.sticky && plan.count > plan.at))) return 0;
    errno = plan.error;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

#define ON_PATH(name, path, second, call)                              \
    REAL(name);                                                        \
    if (!within(path)) return call;                                    \
    return note(#name, strikes() ? -1 : call, path, second)

#define ON_FILE(name, fd, call)                                        \
    char path[4096];                                                   \
    REAL(name);                                                        \
    if (!opened_within(fd, path, sizeof path)) return call;            \
    return note(#name, strikes() ? -1 : call, path, "")

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    ON_PATH(open64, path, "", real(path, flags, mode));
}

int mkdir(const char *path, mode_t mode) { ON_PATH(mkdir, path, "", real(path, mode)); }
int rename(const char *from, const char *to) { ON_PATH(rename, from, to, real(from, to)); }
int unlink(const char *path) { ON_PATH(unlink, path, "", real(path)); }
int stat64(const char *path, struct stat64 *out) { ON_PATH(stat64, path, "", real(path, out)); }
int fstat64(int fd, struct stat64 *out) { ON_FILE(fstat64, fd, real(fd, out)); }
int isatty(int fd) { ON_FILE(isatty, fd, real(fd)); }
int fsync(int fd) { ON_FILE(fsync, fd, real(fd)); }
int fdatasync(int fd) { ON_FILE(fdatasync, fd, real(fd)); }
int ftruncate64(int fd, off64_t n) { ON_FILE(ftruncate64, fd, real(fd, n)); }
off64_t lseek64(int fd, off64_t to, int whence) { ON_FILE(lseek64, fd, real(fd, to, whence)); }

int close(int fd) {
    char path[4096];
    REAL(close);
    if (!opened_within(fd, path, sizeof path)) return real(fd);
    int struck = strikes(), error = errno, result = real(fd); /* it closes even if it fails */
    if (struck) errno = error;
    return note("close", struck ? -1 : result, path, "");
}

ssize_t write(int fd, const void *from, size_t n) {
    char path[4096];
    REAL(write);
    if (!opened_within(fd, path, sizeof path)) return real(fd, from, n);
    if (n > plan.piece) n = plan.piece;
    if (strikes()) return note("write", -1, path, "");
    if (plan.kind == CUT && plan.sticky && plan.count > plan.at) { /* the disk is full now */
        errno = ENOSPC;
        return note("write", -1, path, "");
    }
    if (plan.count == plan.at && (plan.kind == CUT || plan.kind == KILL_AMID)) n = (n + 1) / 2;
    ssize_t done = real(fd, from, n);
    if (plan.count == plan.at && plan.kind == KILL_AMID) kill(getpid(), SIGKILL);
    return note("write", done, path, "");
}
