/*
 * A wrong clock for one program, by LD_PRELOAD: the time of day is that of the machine plus an offset, which another
 * process may change meanwhile. Everything else, timers and the clock that measures intervals, is the machine's.
 *
 * CONVERGE_LEDGER_CLOCK names a file that holds the offset in seconds, as eight bytes in the byte order of the machine.
 * The file is mapped once and read by each look at the clock. A signal handler may therefore look at the clock at any
 * time, and sees the same clock as the code that it interrupts: PostgreSQL's timeouts depend on that.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void map_offset(void)
{
    const char *path = getenv("CONVERGE_LEDGER_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);

    /* A test that runs with the right clock would prove nothing. */
    if (mapped == MAP_FAILED)
        _exit(125);
    close(file);
    offset = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int) syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *offset;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;

    (void) zone;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec exact;

    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return -1;
    if (result)
        *result = exact.tv_sec;
    return exact.tv_sec;
}
