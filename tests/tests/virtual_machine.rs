//! The virtual machine has what the kernel backend and netem scenarios need, runs what it is given, and
//! tells how that ended.

#![cfg(test)]

use std::io::Write as _;
use std::time::Duration;

use mesh_tests::vm::Vm;

/// Booting takes 20 s on two idle cores.
const WITHIN: Duration = Duration::from_secs(300);

/// Two machines that speak WireGuard over a link of 40 ms each way, and a marker left on this machine.
const SCRIPT: &str = "\
set -e
touch /root/only-inside
ip netns add a; ip netns add b
ip link add veth-a netns a type veth peer name veth-b netns b
for side in a:1:2 b:2:1; do
  n=${side%%:*}; rest=${side#*:}; own=${rest%%:*}
  ip -n $n link set lo up; ip -n $n addr add 192.0.2.$own/24 dev veth-$n; ip -n $n link set veth-$n up
  tc -n $n qdisc add dev veth-$n root netem delay 40ms
  ip -n $n link add wg0 type wireguard; ip -n $n addr add 10.9.9.$own/24 dev wg0
  wg genkey >/tmp/$n.key; wg pubkey </tmp/$n.key >/tmp/$n.pub
  ip netns exec $n wg set wg0 listen-port 51840 private-key /tmp/$n.key
  ip -n $n link set wg0 up
done
ip netns exec a wg set wg0 peer $(cat /tmp/b.pub) endpoint 192.0.2.2:51840 allowed-ips 10.9.9.2/32
ip netns exec b wg set wg0 peer $(cat /tmp/a.pub) allowed-ips 10.9.9.1/32
ip netns exec a ping -c 3 -W 10 10.9.9.2
nft add table inet probe
exit 7
";

#[test]
fn debians_kernel_has_wireguard_and_netem_and_changes_nothing_here() {
    let vm = match Vm::find() {
        Ok(vm) => vm,
        Err(reason) => {
            assert!(std::env::var_os("MESH_VM").is_none(), "{reason}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
            return;
        }
    };
    let outcome = vm.run(SCRIPT, WITHIN).unwrap();
    let output = &outcome.output;
    assert_eq!(outcome.status, 7, "{output}");
    let times = output.lines().filter_map(|line| {
        let (_, after) = line.split_once("time=")?;
        after.split_once(' ')?.0.parse::<f64>().ok()
    });
    let fastest = times.fold(f64::MAX, f64::min);
    assert!((80.0..5000.0).contains(&fastest), "two delays: {output}");
    assert!(!std::path::Path::new("/root/only-inside").exists());
}
