//! Starting a session: everything that can be wrong is looked at before anything is made.
//!
//! Invariant: a failure leaves no new session, and a resumed one as it was.

mod checks;
mod guest;
mod make;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmm_core::Switch;

use crate::background::{Background, Fill};
use crate::builder::{SessionBuilder, Source};
use crate::clock;
use crate::error::{Error, Repr};
use crate::event::Events;
use crate::holding::Holding;
use crate::limits::AtEnd;
use crate::machine::Machine;
use crate::quotas;
use crate::record::Record;
use crate::session::Session;
use crate::store::{SessionInfo, Store};
use crate::telemetry;
use crate::timings::Timings;
use checks::{check, check_kvm};
pub(crate) use guest::boot;
use make::{labels, make, resume};

const KVM: &str = "/dev/kvm";

/// What a start of a guest takes that no record holds.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) fill: Option<Fill>,
    /// Those that were given for the guest's networks, in their order.
    pub(crate) switches: Vec<Option<Switch>>,
    pub(crate) boot_timeout: Duration,
}

/// A session whose guest takes commands.
pub(crate) struct Launched {
    pub(crate) store: Store,
    pub(crate) machine: Machine,
    pub(crate) background: Background,
    pub(crate) holding: Holding,
    pub(crate) events: Arc<Events>,
    pub(crate) plan: Plan,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) timings: Timings,
    /// How long the run had lasted when it was cut off, if it goes on.
    pub(crate) used: Duration,
}

/// Starts the session that was described.
pub(crate) fn launch(builder: SessionBuilder) -> Result<Session, Error> {
    let begun = Instant::now();
    let started = start(builder);
    telemetry::started(&started, begun.elapsed());
    started
}

fn start(builder: SessionBuilder) -> Result<Session, Error> {
    let SessionBuilder {
        store,
        source,
        settings,
        listener,
    } = builder;
    check(&settings)?;
    check_kvm(Path::new(KVM))?;
    quotas::check_start(&store, &labels(&store, &source, &settings)?)?;
    let events = Arc::new(listener.map(Events::to).transpose()?.unwrap_or_default());
    let mut timings = Timings::default();
    let mut holding = match source {
        Source::Session(id) => resume(&store, &id, &settings)?,
        new => make(&store, new, &settings, &mut timings)?,
    };
    telemetry::of_session(&holding.record().id);
    holding.tell(Arc::clone(&events));
    // An image may have taken what room there was.
    if timings.import.is_some()
        && let Err(error) = quotas::check_start(&store, &holding.record().about.labels)
    {
        holding.give_back();
        return Err(error);
    }
    let now = clock::unix(store.clock());
    let beat = holding.folder().last_beat().map(clock::unix_of);
    let used = match begin_run(holding.record_mut(), beat, now) {
        Ok(used) => used,
        Err(error) => {
            holding.give_back();
            return Err(error);
        }
    };
    let plan = Plan {
        fill: settings.fill,
        switches: settings.switches.clone(),
        boot_timeout: settings.boot_timeout,
    };
    match boot(&store, &mut holding, &plan, &mut timings, &|_| ()) {
        Ok((machine, background)) => {
            // By the clock that later looks compare with.
            holding.folder().beat(store.clock().wall());
            Session::new(Launched {
                store,
                machine,
                background,
                holding,
                events,
                plan,
                shutdown_timeout: settings.shutdown_timeout,
                timings,
                used,
            })
        }
        Err(error) => {
            holding.give_back();
            Err(error)
        }
    }
}

/// Makes the session that was described, without starting it.
pub(crate) fn make_only(builder: SessionBuilder) -> Result<SessionInfo, Error> {
    let SessionBuilder {
        store,
        source,
        settings,
        ..
    } = builder;
    check(&settings)?;
    if let Source::Session(id) = source {
        return Err(Repr::SessionExists { id }.into());
    }
    let holding = make(&store, source, &settings, &mut Timings::default())?;
    let id = holding.record().id.clone();
    drop(holding);
    store.session(&id)
}

/// Notes that a run begins, or goes on that was cut off before its time was over. Returns how long that had lasted by
/// the time of day, and at least up to `beat`, its last sign of life: one that was set back makes no run longer.
///
/// # Errors
/// The session's time was over meanwhile, and it is to be thrown away then.
fn begin_run(record: &mut Record, beat: Option<u64>, now: u64) -> Result<Duration, Error> {
    let lasted = record.started.map(|started| {
        let seen = beat.map_or(0, |beat| beat.saturating_sub(started));
        Duration::from_secs(now.saturating_sub(started).max(seen))
    });
    let cut_off = lasted.filter(|_| record.state.has_disk());
    let limits = &record.limits;
    let is_over = |used: &Duration| limits.max_uptime.is_some_and(|limit| *used >= limit);
    if limits.at_end == AtEnd::Terminate && cut_off.as_ref().is_some_and(is_over) {
        let id = record.id.clone();
        return Err(Repr::TimeOver { id }.into());
    }
    let used = cut_off.filter(|used| !is_over(used)).unwrap_or_default();
    record.failure = None;
    record.started = Some(now.saturating_sub(used.as_secs()));
    Ok(used)
}

#[cfg(test)]
mod tests;
