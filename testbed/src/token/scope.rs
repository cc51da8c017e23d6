//! What a client asks to do: `scope=repository:NAME:ACTION,ACTION`, any number of times.

use serde_json::{Value, json};

/// The `access` claim for the query of `target`, with those of the actions that `may` allows.
pub(super) fn granted(target: &str, may: impl Fn(&str) -> bool) -> Vec<Value> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let scopes = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="))
        .map(decoded);
    let mut access = Vec::new();
    for scopes in scopes {
        for scope in scopes.split(' ') {
            let mut parts = scope.splitn(2, ':');
            let kind = parts.next().unwrap_or_default();
            // A name may have a colon, in the port of a host.
            let Some((name, actions)) = parts.next().and_then(|rest| rest.rsplit_once(':')) else {
                continue;
            };
            let actions: Vec<_> = actions.split(',').filter(|action| may(action)).collect();
            access.push(json!({ "type": kind, "name": name, "actions": actions }));
        }
    }
    access
}

/// Undoes the escapes of a query.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(match escaped {
            Some(byte) => {
                rest = &after[2..];
                byte
            }
            None if *first == b'+' => b' ',
            None => *first,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::granted;

    #[test]
    fn all_scopes_of_a_query_are_granted_as_far_as_allowed() {
        let target = "/token?service=x&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository:c:pull+x:d:e:pull&scope=bad";
        let access = serde_json::to_string(&granted(target, |action| action == "pull")).unwrap();
        let one = |kind: &str, name: &str| {
            format!(r#"{{"actions":["pull"],"name":"{name}","type":"{kind}"}}"#)
        };
        let all = [
            one("repository", "a/b"),
            one("repository", "c"),
            one("x", "d:e"),
        ];
        assert_eq!(access, format!("[{}]", all.join(",")));
        assert!(granted("/token", |_| true).is_empty());
    }
}
