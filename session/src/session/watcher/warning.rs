//! What is said before a limit is over.

use std::sync::Arc;
use std::time::Duration;

use crate::error::one_line;
use crate::event::Event;
use crate::limits::Limit;
use crate::session::phase::Phase;
use crate::session::shared::Shared;

/// How long a guest may take to show a warning.
const NOTICE_PATIENCE: Duration = Duration::from_secs(2);

/// Tells the session's owner, and its guest if that is wanted.
pub(super) fn warn(shared: &Arc<Shared>, limit: Limit, left: Duration, tell_guest: bool) {
    shared.events.tell(Event::LimitNear { limit, left });
    let control = match &shared.lock().phase {
        Phase::Running(live) if tell_guest && !live.is_paused => live.machine.control(),
        _ => return,
    };
    let text = notice(limit, left);
    let told = control.ask(NOTICE_PATIENCE, |talk| talk.notice(text));
    if let Err(error) = told {
        let error = one_line(&error);
        tracing::debug!(error, "a guest did not show a warning");
    }
}

fn notice(limit: Limit, left: Duration) -> String {
    let minutes = left.as_secs().div_ceil(60);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    match limit {
        Limit::Uptime => format!("This machine's time is over in {minutes} {unit}."),
        Limit::Idle => format!("This machine is not in use, and ends in {minutes} {unit}."),
    }
}
