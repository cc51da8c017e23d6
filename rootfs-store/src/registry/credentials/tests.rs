use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

fn of_config(config: &str, host: &str) -> Result<Option<Credential>, RegistryError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    fs::write(&file, config).unwrap();
    look_up(&Credentials::DockerConfig { file: Some(file) }, host)
}

fn password(username: &str, password: &str) -> Credential {
    Credential::Password {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

#[test]
fn docker_config_holds_passwords_and_tokens_by_host() {
    let config = r#"{"auths":{
        "registry.example:5000":{"auth":"bWU6aHVzaDpo"},
        "https://index.docker.io/v1/":{"auth":"aHViOmh1c2g="},
        "token.example":{"auth":"eDp5","identitytoken":"t"},
        "out.example":{},
        "empty.example":{"auth":"Og=="},
        "bad.example":{"auth":"?"}
    }}"#;
    let found = |host| of_config(config, host).unwrap();
    assert_eq!(
        found("registry.example:5000"),
        Some(password("me", "hush:h"))
    );
    assert_eq!(found("docker.io"), Some(password("hub", "hush")));
    let token = Credential::IdentityToken(Secret::new("t"));
    assert_eq!(found("token.example"), Some(token));
    for host in ["other.example", "out.example", "empty.example"] {
        assert_eq!(found(host), None, "{host}");
    }
    let error = of_config(config, "bad.example").unwrap_err();
    assert!(matches!(error, RegistryError::Credentials { .. }));
    assert!(of_config("{", "other.example").is_err());
}

#[test]
fn no_config_is_nobody() {
    let file = Some(PathBuf::from("/nowhere/config.json"));
    let nobody = look_up(&Credentials::DockerConfig { file }, "a.example");
    assert_eq!(nobody.unwrap(), None);
    assert_eq!(look_up(&Credentials::Anonymous, "a.example").unwrap(), None);
    let known = [("a.example".to_owned(), password("me", "hush"))].into();
    let explicit = Credentials::Explicit(known);
    let found = look_up(&explicit, "a.example").unwrap();
    assert_eq!(found, Some(password("me", "hush")));
    assert_eq!(look_up(&explicit, "b.example").unwrap(), None);
}

/// Where a test that runs itself again finds what it prepared.
const PREPARED: &str = "HELPERS_ARE_ASKED_IN";

#[test]
fn helpers_are_asked() {
    // Helpers are found by `PATH`, which only a process of its own can have changed.
    if let Some(dir) = env::var_os(PREPARED) {
        return ask_helper(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let helper = dir.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread host\ncase $host in\n\
        known.example) echo '{\"Username\":\"me\",\"Secret\":\"hush\"}';;\n\
        token.example) echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';;\n\
        odd.example) echo hush;;\n\
        none.example) echo 'credentials not found in native keychain'; exit 1;;\n\
        *) echo hush; exit 1;;\nesac\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let config = r#"{"credsStore":"test","credHelpers":{"lost.example":"of-no-such-program"}}"#;
    fs::write(dir.path().join("config.json"), config).unwrap();
    let path = format!("{}:{}", dir.path().display(), env::var("PATH").unwrap());
    let name = "registry::credentials::tests::helpers_are_asked";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .env("PATH", path)
        .env(PREPARED, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn ask_helper(dir: &Path) {
    let file = Some(dir.join("config.json"));
    let credentials = Credentials::DockerConfig { file };
    let found = |host| look_up(&credentials, host);
    assert_eq!(
        found("known.example").unwrap(),
        Some(password("me", "hush"))
    );
    let token = Credential::IdentityToken(Secret::new("t"));
    assert_eq!(found("token.example").unwrap(), Some(token));
    assert_eq!(found("none.example").unwrap(), None);
    for (host, text) in [
        ("odd.example", "makes no sense"),
        ("failing.example", "failed"),
        ("lost.example", "can't be run"),
    ] {
        let error = found(host).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}

#[test]
fn problems_do_not_show_what_helpers_print() {
    let failure = |stdout: &str| CredentialRetrievalError::HelperFailure {
        helper: "helper".to_owned(),
        stdout: stdout.to_owned(),
        stderr: String::new(),
    };
    assert_eq!(
        problem(&failure("credentials not found in native keychain")),
        None
    );
    let told = problem(&failure("hush")).unwrap();
    assert!(!told.contains("hush"));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!(
        "{:?} {:?}",
        password("me", "hush"),
        basic(&password("me", "hush"))
    );
    assert!(shown.contains("me") && !shown.contains("hush"), "{shown}");
    assert!(basic(&Credential::IdentityToken(Secret::new("t"))).is_none());
}
