//! Ends of sessions that nobody asked for.

use std::sync::Arc;
use std::time::Duration;

use super::sample;
use crate::error::one_line;
use crate::event::Event;
use crate::limits::{AtEnd, Limit};
use crate::machine::{Gone, GoneKind};
use crate::session::phase::Phase;
use crate::session::shared::Shared;
use crate::session::turn::Claim;

/// How the guest ended, if it did and nobody has seen to that.
pub(super) fn gone(shared: &Shared) -> Option<Gone> {
    match &shared.lock().phase {
        Phase::Running(live) => live.machine.watch().exit_within(Duration::ZERO),
        _ => None,
    }
}

pub(super) fn gone_by(shared: &Shared, kind: GoneKind) -> bool {
    gone(shared).is_some_and(|gone| gone.kind == kind)
}

pub(super) fn is_running(shared: &Shared) -> bool {
    matches!(shared.lock().phase, Phase::Running(_))
}

/// Whether there is nothing to be ended any more.
pub(super) fn has_ended(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Stopped(_) | Phase::Removing(_) | Phase::Removed
    )
}

/// How the session is to be ended, if its limits say at this moment that this one is over.
pub(super) fn is_due(shared: &Shared, limit: Limit) -> Option<AtEnd> {
    let guest = {
        let inner = shared.lock();
        if has_ended(&inner.phase) {
            return None;
        }
        inner.phase.watch()
    };
    let sample = sample(&shared.activity, guest.as_ref());
    let limits = shared.limits().clone();
    let now = shared.store.clock().monotonic();
    let is_over = shared.limit_watch().is_over(limit, now, sample, &limits);
    is_over.then_some(limits.at_end)
}

/// Ends the session as `is_due` says under the turn, and tells how that went. Returns how it could not be ended.
pub(super) fn end(
    shared: &Arc<Shared>,
    is_due: impl FnOnce() -> Option<AtEnd>,
) -> Result<(), AtEnd> {
    let turn = Claim::new(shared).wait();
    let Some(how) = is_due() else {
        return Ok(());
    };
    let ended = match how {
        AtEnd::Shutdown => turn
            .shut_down(&())
            .map(|snapshot| Event::ShutDown { snapshot }),
        AtEnd::Terminate => turn.terminate().map(|()| Event::Terminated),
    };
    match ended {
        Ok(event) => {
            shared.events.tell(event);
            Ok(())
        }
        // Who terminates it is told how that goes.
        Err(_) if shared.is_doomed() => Ok(()),
        Err(error) => {
            let message = one_line(&error);
            shared.events.tell(Event::NotEnded { message });
            Err(how)
        }
    }
}
