//! Which backend carries the packets: chosen once at start, with the reason that log and status show.

use mesh_proto::record::BackendKind;

use crate::config::{Backend, ChosenBackend};
use crate::engine::kernel_available;

/// The backend for what the configuration says.
pub(super) fn choose(configured: Backend) -> ChosenBackend {
    let chosen = choose_by(configured, kernel_available);
    tracing::info!(backend = ?chosen.kind, reason = %chosen.reason, "WireGuard backend");
    chosen
}

fn choose_by(configured: Backend, kernel: impl FnOnce() -> Result<(), String>) -> ChosenBackend {
    let (kind, reason) = match configured {
        Backend::Kernel => (BackendKind::Kernel, "set by wireguard.backend".to_owned()),
        Backend::Userspace => (
            BackendKind::Userspace,
            "set by wireguard.backend".to_owned(),
        ),
        Backend::Auto => match kernel() {
            Ok(()) => (
                BackendKind::Kernel,
                "auto: this host's kernel has WireGuard".to_owned(),
            ),
            Err(missing) => (BackendKind::Userspace, format!("auto: {missing}")),
        },
    };
    ChosenBackend { kind, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_kernel_where_it_works_and_says_why() {
        let chosen = choose_by(Backend::Auto, || Ok(()));
        assert_eq!(chosen.kind, BackendKind::Kernel);
        assert_eq!(chosen.reason, "auto: this host's kernel has WireGuard");
        let chosen = choose_by(Backend::Auto, || {
            Err("the kernel has no WireGuard".to_owned())
        });
        assert_eq!(chosen.kind, BackendKind::Userspace);
        assert_eq!(chosen.reason, "auto: the kernel has no WireGuard");
        let chosen = choose_by(Backend::Kernel, || unreachable!("nobody asks"));
        assert_eq!(chosen.reason, "set by wireguard.backend");
    }
}
