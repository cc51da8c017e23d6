use serde_json::json;

use super::*;

#[test]
fn targets_know_their_package() {
    let metadata = json!({"packages": [{
        "name": "vmm-core", "manifest_path": "/w/vmm-core/Cargo.toml",
        "targets": [{"name": "nested", "kind": ["test"], "src_path": "/w/vmm-core/tests/nested/main.rs"}],
    }]});
    let target = Target {
        package: "vmm-core".to_owned(),
        name: "nested".to_owned(),
        kind: "test".to_owned(),
        source: PathBuf::from("/w/vmm-core/tests/nested/main.rs"),
        folder: PathBuf::from("/w/vmm-core"),
    };
    assert_eq!(targets_in(&metadata), [target]);
}

#[test]
fn messages_without_a_program_are_passed_over() {
    let library =
        json!({"reason": "compiler-artifact", "executable": null, "target": {"name": "a"}});
    assert_eq!(built(&library), None);
    let program = json!({"executable": "/t/a-1", "target": {"name": "a", "src_path": "/a.rs"}});
    assert_eq!(built(&program).unwrap().executable, Path::new("/t/a-1"));
}
