//! Which calls of the kernel a command cannot make: those that open more of the kernel than a check needs.
//!
//! Several small filters, each with one answer; the kernel takes the strictest. Calls of another architecture end the
//! process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Not permitted, whatever the arguments.
const DENIED: &[i64] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_quotactl,
    libc::SYS_mknodat,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_personality,
    libc::SYS_vmsplice,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_get_mempolicy,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// What only this architecture has.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[i64] = &[];

/// New namespaces, as flags of `clone`.
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// `TIOCSTI` and `TIOCLINUX`, which type into the terminal of somebody else.
const TERMINAL: [u64; 2] = [0x5412, 0x541c];

/// The first call that was not known when this was written (`mseal` is the last that was), and with it the x32 calls.
const FIRST_UNKNOWN: u32 = 463;

/// The filters as the kernel reads them, one for each answer.
pub(super) fn filters() -> Result<Vec<Vec<u8>>, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().chain(DENIED_HERE).map(|&call| (call, Vec::new())).collect();
    let new_namespace = |flag: i32| {
        let flag = u64::from(flag.cast_unsigned());
        rule(&[(0, SeccompCmpOp::MaskedEq(flag), flag)])
    };
    denied.insert(libc::SYS_clone, NEW_NAMESPACES.into_iter().map(new_namespace).collect::<Result<_, _>>()?);
    denied.insert(
        libc::SYS_ioctl,
        TERMINAL.into_iter().map(|ask| rule(&[(1, SeccompCmpOp::Eq, ask)])).collect::<Result<_, _>>()?,
    );
    let other_families = |known: &[i32]| {
        let others: Vec<_> =
            known.iter().map(|family| (0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned()))).collect();
        rule(&others).map(|rule| vec![rule])
    };
    let sockets = BTreeMap::from([
        (libc::SYS_socket, other_families(&[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6])?),
        (libc::SYS_socketpair, other_families(&[libc::AF_UNIX])?),
    ]);
    // What it cannot look into; whoever hears that there is no clone3 uses clone.
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![
        compiled(denied, libc::EPERM, arch)?,
        compiled(sockets, libc::EAFNOSUPPORT, arch)?,
        compiled(newer, libc::ENOSYS, arch)?,
        unknown_calls(),
    ])
}

fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, String> {
    let conditions = conditions
        .iter()
        .map(|(argument, operator, value)| {
            SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
        })
        .collect::<Result<_, _>>();
    conditions.and_then(SeccompRule::new).map_err(|error| error.to_string())
}

fn compiled(calls: BTreeMap<i64, Vec<SeccompRule>>, answer: i32, arch: TargetArch) -> Result<Vec<u8>, String> {
    let action = SeccompAction::Errno(answer.cast_unsigned());
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, action, arch).map_err(|error| error.to_string())?;
    let program = BpfProgram::try_from(filter).map_err(|error| error.to_string())?;
    Ok(program.iter().flat_map(|step| instruction(step.code, step.jt, step.jf, step.k)).collect())
}

/// `ENOSYS` for every call from [`FIRST_UNKNOWN`] on.
fn unknown_calls() -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_NOT_LESS: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    [
        instruction(LOAD, 0, 0, 0),
        instruction(JUMP_IF_NOT_LESS, 0, 1, FIRST_UNKNOWN),
        instruction(RETURN, 0, 0, ERRNO | libc::ENOSYS.cast_unsigned()),
        instruction(RETURN, 0, 0, ALLOW),
    ]
    .concat()
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> [u8; 8] {
    let ([a, b], [w, x, y, z]) = (code.to_ne_bytes(), k.to_ne_bytes());
    [a, b, jt, jf, w, x, y, z]
}
