use super::*;

#[test]
fn explicit_folder_wins_and_relative_ones_are_ignored() {
    let pick = |explicit: &'static str, xdg: &'static str| {
        place(|name| {
            Some(PathBuf::from(match name {
                CACHE_VARIABLE => explicit,
                "XDG_CACHE_HOME" => xdg,
                _ => "/home/u",
            }))
        })
    };
    assert_eq!(pick("/c", "/x"), Some(PathBuf::from("/c")));
    assert_eq!(pick("c", "/x"), Some(PathBuf::from("/x/vm-sessions")));
    assert_eq!(
        pick("", ""),
        Some(PathBuf::from("/home/u/.cache/vm-sessions"))
    );
    assert_eq!(place(|_| None), None);
}

#[test]
fn failed_build_leaves_no_entry_and_the_next_starts_clean() {
    let root = tempfile::tempdir().unwrap();
    let failed = ensure_in(root.path(), "thing", |partial| {
        fs::write(partial.join("half"), "x").unwrap();
        Err(CacheError::NoPlace)
    });
    assert!(failed.is_err());
    assert!(!root.path().join("thing").exists());
    let place = ensure_in::<CacheError>(root.path(), "thing", |partial| {
        assert!(!partial.join("half").exists());
        fs::write(partial.join("whole"), "x").unwrap();
        Ok(())
    })
    .unwrap();
    assert!(place.join("whole").exists());
}

#[test]
fn concurrent_callers_build_once() {
    let root = tempfile::tempdir().unwrap();
    let builds = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                ensure_in::<CacheError>(root.path(), "thing", |_| {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    builds.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    Ok(())
                })
                .unwrap();
            });
        }
    });
    assert_eq!(builds.into_inner(), 1);
}
