//! What a container's processes may ask of the kernel: Docker's default profile, as facts.
//!
//! Source of the list: the default profile of moby (25 and later, which no longer allows
//! `io_uring`), resolved for the capabilities of the container. Admitted are the native architecture and its
//! 32-bit ancestor, whose programs would be killed otherwise; each costs every start of a container
//! some milliseconds, so x32, which Debian disables, is left out. A call that is not listed fails
//! with `EPERM`; one that libseccomp does not know yet is left out.

use serde_json::{Value, json};

/// Calls that are harmless with any arguments.
const ALLOWED: &str = "\
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
    clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect \
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat \
    fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr \
    fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv \
    futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 \
    getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid \
    getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt \
    gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl \
    ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self \
    lchown lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr \
    lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore \
    mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify \
    mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd \
    msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 \
    pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll \
    prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev \
    pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom \
    recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler \
    sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto \
    set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer \
    setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid \
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 \
    socketpair splice stat statfs statmount statx symlink symlinkat sync sync_file_range syncfs \
    sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime \
    timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask \
    uname unlink unlinkat uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write \
    writev";

/// Calls that only 32-bit programs make.
const ALLOWED_32_BIT: &str = "\
    _llseek _newselect chown32 clock_adjtime64 clock_getres_time64 clock_gettime64 \
    clock_nanosleep_time64 fadvise64_64 fchown32 fcntl64 fstat64 fstatat64 fstatfs64 ftruncate64 \
    futex_time64 getegid32 geteuid32 getgid32 getgroups32 getresgid32 getresuid32 getuid32 \
    io_pgetevents_time64 ipc lchown32 lstat64 mmap2 mq_timedreceive_time64 mq_timedsend_time64 \
    ppoll_time64 pselect6_time64 recv recvmmsg_time64 rt_sigtimedwait_time64 \
    sched_rr_get_interval_time64 semtimedop_time64 send sendfile64 setfsgid32 setfsuid32 \
    setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32 setuid32 sigprocmask \
    sigreturn socketcall stat64 statfs64 timer_gettime64 timer_settime64 timerfd_gettime64 \
    timerfd_settime64 truncate64 ugetrlimit utimensat_time64 waitpid";

/// Calls that only whoever has one of these capabilities may make.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
         umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// The native architecture and its ancestor.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"];
/// The native architecture and its ancestor.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
/// The native architecture, which has no ancestor.
#[cfg(target_arch = "riscv64")]
const ARCHITECTURES: [&str; 1] = ["SCMP_ARCH_RISCV64"];

/// Calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_NATIVE: &str = "arch_prctl modify_ldt";
/// Calls that only this architecture has.
#[cfg(target_arch = "aarch64")]
const ALLOWED_NATIVE: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2";
/// Calls that only this architecture has.
#[cfg(target_arch = "riscv64")]
const ALLOWED_NATIVE: &str = "riscv_flush_icache";

/// Execution domains that change nothing for others: Linux, 32-bit addresses, both, and the question.
const PERSONALITIES: [u64; 5] = [0, 8, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// Every `CLONE_NEW…` flag but the one for time, which is not a flag of `clone`.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Sockets to the host of a virtual machine are not the container's business.
const AF_VSOCK: u64 = 40;

const ENOSYS: u32 = 38;

/// The profile in the form that the OCI's config.json has.
#[must_use]
pub fn profile(capabilities: &[String]) -> Value {
    let has = |name: &str| capabilities.iter().any(|other| other == name);
    let mut lists = vec![ALLOWED, ALLOWED_32_BIT, ALLOWED_NATIVE];
    lists.extend(BY_CAPABILITY.iter().filter(|(name, _)| has(name)).map(|(_, calls)| *calls));
    let mut names: Vec<&str> = lists.into_iter().flat_map(str::split_whitespace).collect();
    names.sort_unstable();
    names.dedup();
    let mut rules = vec![
        json!({"names": names, "action": "SCMP_ACT_ALLOW"}),
        only_if("socket", &json!({"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"})),
    ];
    if !has("CAP_SYS_ADMIN") {
        // A program that gets ENOSYS falls back to clone, whose flags can be seen from here.
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
        rules.push(only_if(
            "clone",
            &json!({"index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}),
        ));
    }
    for persona in PERSONALITIES {
        rules.push(only_if(
            "personality",
            &json!({"index": 0, "value": persona, "op": "SCMP_CMP_EQ"}),
        ));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ARCHITECTURES,
        "syscalls": rules,
    })
}

fn only_if(name: &str, condition: &Value) -> Value {
    json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [condition]})
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxSeccomp;

    use super::*;

    fn with(capabilities: &[&str]) -> LinuxSeccomp {
        let names: Vec<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
        serde_json::from_value(profile(&names)).unwrap()
    }

    #[test]
    fn the_profile_is_one_that_the_oci_knows() {
        assert_eq!(with(&[]).syscalls().as_ref().unwrap().len(), 9);
        assert_eq!(with(&["CAP_SYS_ADMIN"]).syscalls().as_ref().unwrap().len(), 7);
    }

    #[test]
    fn a_capability_brings_the_calls_that_need_it() {
        let allows = |capabilities: &[&str], name: &str| {
            with(capabilities).syscalls().as_ref().unwrap()[0].names().iter().any(|it| it == name)
        };
        for (capability, call) in [
            ("CAP_SYS_CHROOT", "chroot"),
            ("CAP_SYS_ADMIN", "mount"),
            ("CAP_SYS_ADMIN", "clone3"),
            ("CAP_SYS_TIME", "clock_settime"),
            ("CAP_SYSLOG", "syslog"),
            ("CAP_BPF", "bpf"),
        ] {
            assert!(!allows(&[], call) && allows(&[capability], call), "{capability} {call}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_holds_nothing_that_leads_out_of_a_container() {
        let names: Vec<&str> = ALLOWED.split_whitespace().collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        for dangerous in [
            "bpf",
            "mount",
            "umount2",
            "setns",
            "unshare",
            "init_module",
            "kexec_load",
            "keyctl",
            "add_key",
            "userfaultfd",
            "open_by_handle_at",
            "reboot",
            "swapon",
            "io_uring_setup",
            "perf_event_open",
            "pivot_root",
            "move_mount",
            "fsopen",
            "clock_settime",
            "syslog",
        ] {
            assert!(!names.contains(&dangerous), "{dangerous}");
        }
    }

    /// Debian's copy of the profile of podman is a second opinion where it is installed: what
    /// both of its ancestors allow without condition must be allowed here.
    #[test]
    fn agrees_with_the_copy_in_debian() {
        let Ok(text) = std::fs::read("/usr/share/containers/seccomp.json") else {
            eprintln!("skipped: golang-github-containers-common is not installed");
            return;
        };
        let theirs: Value = serde_json::from_slice(&text).unwrap();
        let denied: Vec<&str> = theirs["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["action"] == "SCMP_ACT_ERRNO" && rule["excludes"] == json!({}))
            .flat_map(|rule| rule["names"].as_array().unwrap())
            .filter_map(Value::as_str)
            .collect();
        for name in ALLOWED.split_whitespace() {
            // The two calls on which the projects differ.
            let known = ["io_pgetevents", "vmsplice"].contains(&name);
            assert!(known || !denied.contains(&name), "{name} is denied there");
        }
    }
}
