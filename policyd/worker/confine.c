/* SPDX-License-Identifier: MIT */
#include "confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#	define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#	define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#	define ARCH AUDIT_ARCH_RISCV64
#else
#	define ARCH 0 /* not tried on others */
#endif

/** Numbers of the system calls of x86-64's other ABI, x32, begin here. */
#define X32_FIRST 0x40000000

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* The calls below #ifdef exist on older architectures only. */
static const unsigned int refused[] = {
	SYS_socket,
	SYS_connect,
	SYS_bind,
	SYS_openat,
	SYS_openat2,
	SYS_open_by_handle_at,
	SYS_name_to_handle_at,
	SYS_execve,
	SYS_execveat,
	SYS_io_uring_setup,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_pidfd_open,
	SYS_pidfd_getfd,
	SYS_pidfd_send_signal,
	SYS_rt_sigqueueinfo,
	SYS_rt_tgsigqueueinfo,
	SYS_tkill,
	SYS_unlinkat,
	SYS_renameat2,
	SYS_linkat,
	SYS_symlinkat,
	SYS_mkdirat,
	SYS_mknodat,
	SYS_fchmodat,
	SYS_fchownat,
	SYS_truncate,
	SYS_chdir,
	SYS_chroot,
	SYS_unshare,
	SYS_setns,
	SYS_mount,
	SYS_bpf,
	SYS_userfaultfd,
	SYS_add_key,
	SYS_keyctl,
#ifdef SYS_renameat
	SYS_renameat,
#endif
#ifdef SYS_open
	SYS_open,
	SYS_creat,
	SYS_unlink,
	SYS_rename,
	SYS_link,
	SYS_symlink,
	SYS_mkdir,
	SYS_mknod,
	SYS_chmod,
	SYS_chown,
	SYS_lchown,
#endif
};

/* Allowed when the target is this process: abort() needs it. */
static const unsigned int to_oneself[] = {SYS_kill, SYS_tgkill};

#define LOAD(field)                                             \
	(struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, \
				      offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, then, otherwise) \
	(struct sock_filter)             \
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
#define IF_FROM(value, then, otherwise) \
	(struct sock_filter)            \
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, value, then, otherwise)
#define RETURN(value) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)
#define REFUSE RETURN(SECCOMP_RET_ERRNO | EPERM)

/* A refused call fails with EPERM and does not kill the process: libraries try
   some of these and go on without. */
static bool filter_calls(void)
{
	struct sock_filter
		code[8 + 2 * N_ELEMENTS(refused) + 5 * N_ELEMENTS(to_oneself)];
	struct sock_fprog program = {.filter = code};
	unsigned short n = 0;
	size_t i;

	code[n++] = LOAD(arch);
	code[n++] = IF_EQUAL(ARCH, 1, 0);
	code[n++] = REFUSE;
	code[n++] = LOAD(nr);
	code[n++] = IF_FROM(X32_FIRST, 0, 1);
	code[n++] = REFUSE;
	for (i = 0; i < N_ELEMENTS(refused); i++) {
		code[n++] = IF_EQUAL(refused[i], 0, 1);
		code[n++] = REFUSE;
	}
	for (i = 0; i < N_ELEMENTS(to_oneself); i++) {
		/* the lower half of the first argument: the machines above are
		   little endian */
		code[n++] = IF_EQUAL(to_oneself[i], 0, 4);
		code[n++] = LOAD(args[0]);
		code[n++] = IF_EQUAL((unsigned int)getpid(), 0, 1);
		code[n++] = RETURN(SECCOMP_RET_ALLOW);
		code[n++] = REFUSE;
	}
	code[n++] = RETURN(SECCOMP_RET_ALLOW);
	program.len = n;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool confine(void)
{
	/* for the log: the C library reads the time zone's file once */
	tzset();
	if (prctl(PR_SET_DUMPABLE, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return false;
	if (ARCH == 0) {
		errno = ENOSYS;
		return false;
	}
	return filter_calls();
}
