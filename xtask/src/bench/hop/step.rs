//! Which step of a message's way a stack of functions belongs to. Names only: it neither samples nor adds up.

use serde::Serialize;

/// One step of the way, as the kernel takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// The program's own code.
    User,
    /// Into the kernel and out again, and from a descriptor to its socket.
    SystemCall,
    /// From `tcp_sendmsg` down to the wire.
    Send,
    /// From the wire up to the socket: what softirq does.
    Softirq,
    /// From the socket to the caller.
    Receive,
    /// Bytes moved.
    Copy,
    /// Readiness: asked for, told.
    Epoll,
    /// Waking, choosing, switching.
    Scheduling,
    /// Sockets made and taken apart, both handshakes.
    Connection,
    /// Rules and connection tracking.
    Netfilter,
    /// Our programs, and what calls them.
    Bpf,
    /// Everything that has no name here: interrupts, page faults, the start of a process.
    Other,
}

impl Step {
    /// In the order that a message takes them.
    pub(crate) const ALL: [Self; 12] = [
        Self::User,
        Self::SystemCall,
        Self::Send,
        Self::Softirq,
        Self::Receive,
        Self::Copy,
        Self::Epoll,
        Self::Scheduling,
        Self::Connection,
        Self::Netfilter,
        Self::Bpf,
        Self::Other,
    ];

    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::User => "user code",
            Self::SystemCall => "system call entry and exit",
            Self::Send => "socket send, down to the wire",
            Self::Softirq => "receive softirq",
            Self::Receive => "socket receive",
            Self::Copy => "copies",
            Self::Epoll => "epoll",
            Self::Scheduling => "waking and switching",
            Self::Connection => "connection set-up and tear-down",
            Self::Netfilter => "netfilter",
            Self::Bpf => "BPF",
            Self::Other => "other",
        }
    }

    /// The step of a kernel stack, innermost function first: that of the innermost function with a name in the
    /// table, since what is not there serves its caller.
    pub(super) fn of<'a>(stack: impl IntoIterator<Item = &'a str>) -> Self {
        stack.into_iter().find_map(step).unwrap_or(Self::Other)
    }
}

/// The step of the longest prefix that fits.
fn step(function: &str) -> Option<Step> {
    let fitting =
        STEPS.iter().flat_map(|(step, prefixes)| prefixes.iter().map(move |prefix| (*step, *prefix)));
    let longest =
        fitting.filter(|(_, prefix)| function.starts_with(prefix)).max_by_key(|(_, prefix)| prefix.len());
    longest.map(|(step, _)| step)
}

/// How functions of each step begin (Linux 6.1 to 6.18).
const STEPS: [(Step, &[&str]); 11] = [
    (
        Step::SystemCall,
        &[
            "do_syscall_64",
            "entry_SYSCALL",
            "syscall_",
            "x64_sys_call",
            "__x64_sys_",
            "__do_sys_",
            "__sys_",
            "ksys_",
            "vfs_",
            "do_iter_readv_writev",
            "new_sync_",
            "sock_read_iter",
            "sock_write_iter",
            "sock_sendmsg",
            "sock_recvmsg",
            "fdget",
            "__fdget",
            "__fget",
            "fput",
            "sockfd_lookup",
            "security_",
            "bpf_lsm_",
            "invoke_syscall",
            "el0",
        ],
    ),
    (
        Step::Send,
        &[
            "tcp_sendmsg",
            "tcp_push",
            "__tcp_push",
            "tcp_write_xmit",
            "tcp_transmit_skb",
            "__tcp_transmit_skb",
            "__tcp_send_ack",
            "tcp_send_ack",
            "tcp_send_fin",
            "tcp_stream_alloc_skb",
            "inet_sendmsg",
            "inet6_sendmsg",
            "ip_queue_xmit",
            "__ip_queue_xmit",
            "ip_local_out",
            "__ip_local_out",
            "ip_output",
            "ip_finish_output",
            "__ip_finish_output",
            "ip_send_unicast_reply",
            "ip_build_and_send_pkt",
            "inet6_csk_xmit",
            "ip6_xmit",
            "ip6_output",
            "neigh_",
            "__dev_queue_xmit",
            "dev_hard_start_xmit",
            "validate_xmit_skb",
            "veth_xmit",
            "loopback_xmit",
            "__dev_forward_skb",
            "netif_rx",
            "__netif_rx",
            "enqueue_to_backlog",
            "do_tcp_splice",
            "splice_to_socket",
        ],
    ),
    (
        Step::Softirq,
        &[
            "net_rx_action",
            "__do_softirq",
            "handle_softirqs",
            "do_softirq",
            "irq_exit_rcu",
            "__napi_poll",
            "napi_",
            "process_backlog",
            "__netif_receive_skb",
            "netif_receive_skb",
            "ip_rcv",
            "ip_local_deliver",
            "ip_protocol_deliver",
            "ipv6_rcv",
            "ip6_input",
            "ip6_rcv",
            "tcp_v4_rcv",
            "tcp_v6_rcv",
            "tcp_v4_do_rcv",
            "tcp_v6_do_rcv",
            "tcp_rcv_established",
            "tcp_data_queue",
            "tcp_data_ready",
            "tcp_ack",
            "tcp_clean_rtx_queue",
            "sock_def_readable",
            "rcu_core",
            "veth_poll",
        ],
    ),
    (
        Step::Receive,
        &[
            "tcp_recvmsg",
            "inet_recvmsg",
            "inet6_recvmsg",
            "tcp_cleanup_rbuf",
            "__tcp_cleanup_rbuf",
            "tcp_rcv_space_adjust",
            "tcp_eat_recv_skb",
            "sk_wait_data",
            "tcp_splice_read",
            "sock_splice_read",
        ],
    ),
    (
        Step::Copy,
        &[
            "copy_to_user",
            "_copy_to_iter",
            "_copy_from_iter",
            "_copy_to_user",
            "_copy_from_user",
            "copy_user_",
            "rep_movs",
            "__check_object_size",
            "skb_copy",
            "skb_splice",
            "simple_copy_to_iter",
            "__skb_datagram_iter",
            "csum_and_copy",
            "csum_partial",
            "memcpy",
            "memmove",
        ],
    ),
    (
        Step::Epoll,
        &[
            "ep_",
            "__ep_",
            "do_epoll_",
            "__x64_sys_epoll",
            "__do_sys_epoll",
            "eventpoll_",
            "epi_",
            "sock_poll",
            "tcp_poll",
            "vfs_poll",
            "do_poll",
            "do_sys_poll",
            "__pollwait",
            "eventfd_",
        ],
    ),
    (
        Step::Scheduling,
        &[
            "schedule",
            "__schedule",
            "preempt_schedule",
            "try_to_wake_up",
            "ttwu_",
            "wake_up_",
            "__wake_up",
            "default_wake_function",
            "woken_wake_function",
            "autoremove_wake_function",
            "wait_woken",
            "enqueue_task",
            "enqueue_entity",
            "dequeue_task",
            "dequeue_entit",
            "pick_",
            "__pick_",
            "put_prev_",
            "set_next_",
            "update_curr",
            "update_load_avg",
            "update_rq_clock",
            "select_task_rq",
            "check_preempt",
            "wakeup_preempt",
            "resched_curr",
            "finish_task_switch",
            "prepare_task_switch",
            "__switch_to",
            "switch_mm",
            "switch_fpu",
            "sched_",
            "psi_",
            "futex_",
            "do_futex",
            "__x64_sys_futex",
            "hrtimer_try_to_cancel",
            "prepare_to_wait",
            "finish_wait",
            "add_wait_queue",
            "remove_wait_queue",
        ],
    ),
    (
        Step::Connection,
        &[
            "tcp_v4_connect",
            "tcp_v6_connect",
            "tcp_connect",
            "inet_stream_connect",
            "__inet_stream_connect",
            "__sys_connect",
            "__x64_sys_connect",
            "inet_hash_connect",
            "inet6_hash_connect",
            "__inet_hash",
            "inet_hash",
            "inet_unhash",
            "inet_bind",
            "inet_put_port",
            "inet_csk_",
            "inet_accept",
            "__inet_accept",
            "inet_shutdown",
            "inet_release",
            "inet_ehash_",
            "inet_twsk_",
            "__inet_twsk",
            "inet_sock_destruct",
            "tcp_conn_request",
            "tcp_v4_conn_request",
            "tcp_v4_syn_recv_sock",
            "tcp_v4_send_synack",
            "tcp_v4_init",
            "tcp_v4_destroy_sock",
            "tcp_v4_send_reset",
            "tcp_create_openreq_child",
            "tcp_check_req",
            "tcp_child_process",
            "tcp_rcv_state_process",
            "tcp_rcv_synsent_state_process",
            "tcp_finish_connect",
            "tcp_init_",
            "tcp_make_synack",
            "tcp_close",
            "__tcp_close",
            "tcp_shutdown",
            "tcp_fin",
            "tcp_reset",
            "tcp_done",
            "tcp_set_state",
            "tcp_time_wait",
            "tcp_timewait",
            "tcp_disconnect",
            "tcp_get_metrics",
            "tcp_update_metrics",
            "tcp_ca_",
            "tcp_assign_congestion_control",
            "tcp_cleanup_congestion_control",
            "secure_tcp",
            "sk_alloc",
            "sk_clone",
            "sk_free",
            "__sk_free",
            "__sk_destruct",
            "sk_destruct",
            "sk_prot_alloc",
            "sk_common_release",
            "sock_init_data",
            "sock_alloc",
            "sock_close",
            "__sock_create",
            "__sock_release",
            "sock_map_fd",
            "sk_stream_kill_queues",
            "sk_stream_wait_connect",
            "__sys_socket",
            "__x64_sys_socket",
            "__sys_accept",
            "__x64_sys_accept",
            "do_accept",
            "__sys_setsockopt",
            "__x64_sys_setsockopt",
            "do_sock_setsockopt",
            "do_tcp_setsockopt",
            "__sys_getsockopt",
            "__x64_sys_getsockopt",
            "do_sock_getsockopt",
            "__x64_sys_shutdown",
            "__sys_shutdown",
            "__x64_sys_close",
            "filp_close",
            "filp_flush",
            "__fput",
            "____fput",
            "fput_close",
            "task_work_run",
            "alloc_file",
            "alloc_empty_file",
            "alloc_fd",
            "__alloc_fd",
            "inode_init",
            "alloc_inode",
            "new_inode",
            "evict",
            "iput",
            "dput",
            "__dentry_kill",
            "d_alloc",
            "reqsk_",
        ],
    ),
    (
        Step::Netfilter,
        &[
            "nf_",
            "__nf_",
            "ipt_",
            "ip6t_",
            "iptable_",
            "xt_",
            "nft_",
            "ipv4_conntrack_",
            "ipv4_confirm",
            "conntrack_",
        ],
    ),
    (
        Step::Bpf,
        &[
            "bpf_",
            "__bpf_",
            "__cgroup_bpf_",
            "cgroup_bpf_",
            "tcp_call_bpf",
            "htab_",
            "__htab_",
            "trie_",
            "sk_storage_",
        ],
    ),
    (
        Step::Other,
        &[
            "asm_sysvec_",
            "asm_exc_",
            "asm_common_interrupt",
            "do_exit",
            "do_group_exit",
            "do_execve",
            "__x64_sys_execve",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_with_a_name_decides() {
        let waking =
            ["_raw_spin_unlock_irqrestore", "try_to_wake_up", "ep_poll_callback", "sock_def_readable"];
        assert_eq!(Step::of(waking), Step::Scheduling);
        assert_eq!(Step::of(["_raw_read_lock", "ep_poll_callback", "net_rx_action"]), Step::Epoll);
        assert_eq!(Step::of(["kmem_cache_alloc", "__alloc_skb", "tcp_stream_alloc_skb"]), Step::Send);
        assert_eq!(Step::of(["__htab_map_lookup_elem", "bpf_prog_1a2b_sidestep_connect4"]), Step::Bpf);
    }

    #[test]
    fn a_longer_prefix_wins() {
        assert_eq!(Step::of(["__x64_sys_recvfrom"]), Step::SystemCall);
        assert_eq!(Step::of(["__x64_sys_epoll_wait"]), Step::Epoll);
        assert_eq!(Step::of(["__x64_sys_futex"]), Step::Scheduling);
        assert_eq!(Step::of(["__sys_accept4"]), Step::Connection);
    }

    #[test]
    fn what_nobody_knows_is_other() {
        assert_eq!(Step::of(["brand_new_function", "ret_from_fork_asm"]), Step::Other);
        assert_eq!(Step::of([]), Step::Other);
    }
}
