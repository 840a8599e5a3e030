//! Flags, file and defaults: which wins, and what is said about mistakes.

use super::*;

fn resolve(args: &[&str], yaml: Option<&str>) -> Result<Settings, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut args: Vec<_> = [&["discovery-server"], args].concat();
    if let Some(yaml) = yaml {
        std::fs::write(file.path(), yaml).unwrap();
        args.extend(["--config", file.path().to_str().unwrap()]);
    }
    let flags = Flags::try_parse_from(args).map_err(|error| error.to_string())?;
    Settings::resolve(flags).map_err(|error| error.to_string())
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let yaml = "data-dir: /a\nlisten: '[::]:1'\nlease: 10s\nlimits:\n  clusters: 3\n";
    let settings = resolve(&["--lease", "2m"], Some(yaml)).unwrap();
    assert_eq!(settings.data_dir, Path::new("/a"));
    assert_eq!(settings.listen, "[::]:1".parse().unwrap());
    assert_eq!(settings.lease, Duration::from_secs(120));
    assert_eq!(settings.limits.clusters, 3);
    assert_eq!(settings.limits.members_per_cluster, 20_000);
    let settings = resolve(&["--data-dir", "/b", "--stun-listen", "off"], None).unwrap();
    assert_eq!(settings.stun_listen, Some(StunListen::Off));
    assert_eq!(settings.lease, Duration::from_secs(300));
    assert!(resolve(&["--data-dir", "/b"], Some("# nothing\n")).is_ok());
    let two = resolve(&["--store", "etcd=http://a:2379,http://b:2379"], None).unwrap();
    assert!(matches!(two.store, StoreChoice::Etcd(urls) if urls.len() == 2));
}

#[test]
fn mistakes_are_named() {
    for (args, yaml, part) in [
        (&[][..], None, "--data-dir"),
        (&["--data-dir", "/x", "--tls-cert", "/c"], None, "--tls-key"),
        (
            &["--data-dir", "/x"],
            Some("tls-key: /k\n"),
            "both or neither",
        ),
        (&["--data-dir", "/x"], Some("lisen: 0.0.0.0:1\n"), "lisen"),
        (&["--data-dir", "/x"], Some("listen: 7400\n"), "listen"),
        (&["--data-dir", "/x"], Some("lease: 0s\n"), "not a duration"),
        (
            &["--data-dir", "/x"],
            Some("limits: {members: 3}\n"),
            "members",
        ),
        (&["--data-dir", "/x", "--lease", "25h"], None, "25h"),
        (&["--store", "etcd=localhost"], None, "etcd=http://"),
        (
            &["--data-dir", "/x", "--allow-cluster", "ab"],
            None,
            "64 hex",
        ),
        (&["--config", "/does/not/exist"], None, "/does/not/exist"),
    ] {
        let error = resolve(args, yaml).unwrap_err();
        assert!(error.contains(part), "{args:?} {yaml:?}: {error}");
    }
}
