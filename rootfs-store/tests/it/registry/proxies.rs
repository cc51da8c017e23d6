//! Registries that are reached through a proxy, and connections of TLS that a proxy breaks.

use std::fs;
use std::time::Duration;

use rootfs_store::{ImportOptions, ProxySetting, RegistryOptions, Secret, Store};
use testbed::{Auth, Options, Proxy, TokenRules, TunnelFault};

use super::images::sample;
use super::snapshots::{base, changed, exported, noise, pull, push};
use super::{Bed, chain, docker, reference, run_alone};

/// Names the registry to the child of a test.
const CHILD: &str = "PROXY_TEST_REGISTRY";

fn through(bed: &Bed, url: &str) -> RegistryOptions {
    let mut options = bed.options();
    options.proxy = ProxySetting::Url(Secret::new(url));
    options
}

#[test]
fn images_and_snapshots_pass_a_proxy_with_and_without_tls() {
    for tls in [false, true] {
        let bed = Bed::new(&Options {
            tls,
            ..Options::default()
        });
        let proxy = Proxy::start(Some(("somebody", "se:cret"))).unwrap();
        let url = format!("http://somebody:se%3Acret@{}", proxy.host());
        let host = bed.registry.host();
        bed.upload(&sample(&bed, "tar+gzip"), "labs/app:v1");
        let store = bed.store_with("store", through(&bed, &url));
        let options = ImportOptions::default();
        store
            .import(&docker(host, "labs/app:v1"), &options, &())
            .unwrap();
        let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 64 << 10));
        push(&store, &snapshot, host, "labs/disk:v1");
        let other = bed.store_with("other", through(&bed, &url));
        assert_eq!(pull(&other, host, "labs/disk:v1", true).unwrap(), snapshot);
        let expected = exported(&store, &snapshot, bed.dir.path());
        assert_eq!(exported(&other, &snapshot, bed.dir.path()), expected);
        let log = proxy.log();
        assert!(!log.is_empty(), "TLS {tls}");
        assert!(
            log.iter()
                .all(|tunnel| tunnel.status == 200 && tunnel.target == host),
            "{log:?}"
        );
    }
}

#[test]
fn wrong_password_of_a_proxy_is_said_at_once_and_not_shown() {
    let bed = Bed::plain();
    let proxy = Proxy::start(Some(("somebody", "secret"))).unwrap();
    let url = format!("http://somebody:hunter-in-the-rye@{}", proxy.host());
    let store = bed.store_with("store", through(&bed, &url));
    let error = pull(&store, bed.registry.host(), "labs/disk:v1", false).unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("the proxy refused") && text.contains("407"),
        "{text}"
    );
    assert!(
        !text.contains("hunter") && !format!("{error:?}").contains("hunter"),
        "{text}"
    );
    assert_eq!(proxy.log().len(), 1, "it was tried again");
}

#[test]
fn proxy_that_can_not_reach_the_registry_for_a_moment_is_asked_again() {
    let bed = Bed::plain();
    let proxy = Proxy::start(None).unwrap();
    let store = bed.store_with("store", through(&bed, &format!("http://{}", proxy.host())));
    let snapshot = base(&bed, &store);
    proxy.set_plan(|number| (number == 0).then_some(TunnelFault::Refuse(503)));
    push(&store, &snapshot, bed.registry.host(), "labs/disk:v1");
    assert!(proxy.log().len() >= 2);
}

/// As the child, what the parent wants to see at its proxy.
fn pull_by_environment(host: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RegistryOptions::default();
    options.plain_http.insert(host.to_owned());
    let with = rootfs_store::StoreOptions {
        registries: Some(rootfs_store::Registries::new(options).unwrap()),
        ..rootfs_store::StoreOptions::default()
    };
    let store = Store::open_with(dir.path(), with).unwrap();
    pull(&store, host, "labs/disk:v1", false).unwrap();
}

#[test]
fn environment_names_the_proxy_and_the_hosts_that_need_none() {
    const TEST: &str =
        "registry::proxies::environment_names_the_proxy_and_the_hosts_that_need_none";
    if let Ok(host) = std::env::var(CHILD) {
        return pull_by_environment(&host);
    }
    let bed = Bed::plain();
    let store = bed.store("store", &[]);
    let snapshot = base(&bed, &store);
    push(&store, &snapshot, bed.registry.host(), "labs/disk:v1");
    let proxy = Proxy::start(None).unwrap();
    let url = format!("http://{}", proxy.host());
    for (name, no_proxy, is_used) in [
        ("HTTP_PROXY", "", true),
        ("https_proxy", "", true),
        ("ALL_PROXY", "registry.invalid", true),
        ("ALL_PROXY", "127.0.0.1", false),
        ("http_proxy", "registry.invalid,127.0.0.1", false),
    ] {
        proxy.clear_log();
        let variables = [
            (CHILD, bed.registry.host()),
            (name, &url),
            ("NO_PROXY", no_proxy),
        ];
        run_alone(TEST, &variables);
        assert_eq!(
            !proxy.log().is_empty(),
            is_used,
            "{name}, but not {no_proxy:?}"
        );
    }
}

/// Connections of TLS that break or bring wrong bytes anywhere: in the handshake, in a head, in a body.
#[test]
fn broken_connections_of_tls_lose_nothing_of_pushes_and_pulls_by_token() {
    let bed = Bed::new(&Options {
        tls: true,
        auth: Auth::Token(TokenRules::default()),
        ..Options::default()
    });
    let proxy = Proxy::start(None).unwrap();
    let mut options = through(&bed, &format!("http://{}", proxy.host()));
    options.idle_timeout = Duration::from_secs(1);
    let host = bed.registry.host();
    let straight = bed.store("straight", &[]);
    let snapshot = changed(
        &straight,
        &base(&bed, &straight),
        8 << 20,
        &noise(1, 256 << 10),
    );
    push(&straight, &snapshot, host, "labs/disk:v1");
    let expected = exported(&straight, &snapshot, bed.dir.path());
    let mut number = 0;
    for at in [0, 100, 1500, 5000, 100_000] {
        for fault in [
            TunnelFault::CutToServer(at),
            TunnelFault::CutToClient(at),
            TunnelFault::FlipToServer(at),
            TunnelFault::FlipToClient(at),
        ] {
            number += 1;
            let bad = fault.clone();
            proxy.set_plan(move |tunnel| (tunnel < 2).then(|| bad.clone()));
            let name = format!("run-{number}/disk:v1");
            proxy.clear_log();
            let store = bed.store_with("straight", options.clone());
            if let Err(error) = store.push(&snapshot, &reference(host, &name), &()) {
                assert!(chain(&error).contains(host), "{fault:?}: {}", chain(&error));
                push(&straight, &snapshot, host, &name);
            }
            proxy.clear_log();
            let fresh = bed.store_with("fresh", options.clone());
            if let Err(error) = pull(&fresh, host, &name, false) {
                assert!(chain(&error).contains(host), "{fault:?}: {}", chain(&error));
                proxy.clear_plan();
                let again = pull(&fresh, host, &name, false);
                again.unwrap_or_else(|error| panic!("{fault:?}: {}", chain(&error)));
            }
            assert!(
                proxy.log().len() >= 2,
                "{fault:?} did nothing: {:?}",
                proxy.log()
            );
            assert!(
                exported(&fresh, &snapshot, bed.dir.path()) == expected,
                "{fault:?}"
            );
            fs::remove_dir_all(fresh.dir()).unwrap();
        }
    }
}
