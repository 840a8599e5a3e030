//! Every interval and timeout of the core, each with its reason.

use std::time::Duration;

/// WireGuard persistent keepalive. UDP mappings of common NATs live 30 s and more; DESIGN asks for at
/// most 20 s (KubeSpan uses 25 s).
pub const KEEPALIVE: Duration = Duration::from_secs(20);
