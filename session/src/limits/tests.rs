use super::*;
use crate::ErrorKind;

#[test]
fn a_session_may_run_for_eight_hours_unless_it_is_said_otherwise() {
    assert_eq!(
        Limits::default().max_uptime,
        Some(Duration::from_secs(8 * 3600))
    );
    Limits::default().check().unwrap();
    Limits::none().check().unwrap();
}

#[test]
fn limits_that_end_a_session_at_once_are_refused() {
    let bad = [
        Limits {
            max_uptime: Some(Duration::ZERO),
            ..Limits::default()
        },
        Limits {
            idle: Some(IdleLimit::after(Duration::ZERO)),
            ..Limits::default()
        },
        Limits {
            warnings: vec![Duration::from_secs(1); MAX_WARNINGS + 1],
            ..Limits::default()
        },
    ];
    for limits in bad {
        let error = limits.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}
