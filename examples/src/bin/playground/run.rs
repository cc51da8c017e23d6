//! `playground run` and `resume`

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use session::{
    About, Error, Event, IdleLimit, Kernel, Limits, Session, SessionBuilder, Snapshot, Status,
    Store, TaskState, TaskStatus, Timings,
};

use crate::cli::{AtEnd, LimitArgs, MachineArgs, ResumeArgs, RunArgs, WorkArgs};
use crate::copies::CopyArgs;
use crate::description::DescriptionArgs;
use crate::failure::{Failure, say};
use crate::guest::{self, Ran};
use crate::interrupt::{self, Interrupt};
use crate::progress::Bar;
use crate::report::{Report, ms};
use crate::size;
use crate::terminal::Window;

/// How often it is looked what has become of a session, or of its tasks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How long a guest may be gone before that is the end of it.
const GONE_PATIENCE: Duration = Duration::from_secs(10);

/// What the names of images start with, unlike those of snapshots.
const TRANSPORTS: [&str; 3] = ["oci:", "docker-archive:", "docker://"];

pub(crate) fn run(store: &Store, report: Report, args: RunArgs) -> Result<ExitCode, Failure> {
    let is_image = TRANSPORTS
        .iter()
        .any(|transport| args.from.starts_with(transport));
    let mut builder = if is_image {
        Session::from_image(store, args.from).on_progress(Bar::default())
    } else {
        Session::from_snapshot(store, store.resolve(&args.from)?)
    };
    if let Some(id) = args.session {
        builder = builder.id(id);
    }
    let builder = with_limits(builder, &args.machine.limits, Limits::default());
    let machine = args.machine;
    let builder = machine
        .description
        .apply(builder, store, About::default())?;
    let run = Run {
        description: &machine.description,
        copies: &machine.copies,
        work: &args.work,
        rm: args.rm,
    };
    run.whole(with_machine(builder, &machine)?, report)
}

pub(crate) fn resume(store: &Store, report: Report, args: ResumeArgs) -> Result<ExitCode, Failure> {
    let known = store.session(&args.session)?;
    let builder = Session::resume(store, args.session);
    let builder = with_limits(builder, &args.machine.limits, known.limits);
    let machine = args.machine;
    let builder = machine.description.apply(builder, store, known.about)?;
    let run = Run {
        description: &machine.description,
        copies: &machine.copies,
        work: &args.work,
        rm: false,
    };
    run.whole(with_machine(builder, &machine)?, report)
}

fn with_limits(builder: SessionBuilder, args: &LimitArgs, mut limits: Limits) -> SessionBuilder {
    if args.no_max_uptime {
        limits.max_uptime = None;
    }
    limits.max_uptime = args.max_uptime.or(limits.max_uptime);
    limits.idle = args.idle.map(IdleLimit::after).or(limits.idle);
    limits.at_end = match args.at_end {
        Some(AtEnd::Shutdown) => session::AtEnd::Shutdown,
        Some(AtEnd::Terminate) => session::AtEnd::Terminate,
        None => limits.at_end,
    };
    builder.limits(limits)
}

fn with_machine(
    mut builder: SessionBuilder,
    args: &MachineArgs,
) -> Result<SessionBuilder, Failure> {
    if let Some(path) = &args.kernel {
        let kernel = Kernel::from_path(path)?;
        builder = builder.kernel(match &args.modules {
            Some(folder) => kernel.with_modules(folder),
            None => kernel,
        });
    }
    if let Some(count) = args.vcpus {
        builder = builder.vcpus(count);
    }
    if let Some(mib) = args.memory {
        builder = builder.memory_mib(mib);
    }
    if let Some(bytes) = args.size {
        builder = builder.disk_bytes(bytes);
    }
    if let Some(bytes_per_second) = args.fill {
        builder = builder.fill_in_background(bytes_per_second);
    }
    if let Some(name) = &args.hostname {
        builder = builder.hostname(name);
    }
    if let Some(seconds) = args.boot_timeout {
        builder = builder.boot_timeout(Duration::from_secs(seconds));
    }
    if let Some(seconds) = args.shutdown_timeout {
        builder = builder.shutdown_timeout(Duration::from_secs(seconds));
    }
    Ok(builder)
}

/// What is done with a session.
struct Run<'a> {
    description: &'a DescriptionArgs,
    copies: &'a CopyArgs,
    work: &'a WorkArgs,
    rm: bool,
}

impl Run<'_> {
    /// From the start of a session to its end.
    fn whole(&self, builder: SessionBuilder, report: Report) -> Result<ExitCode, Failure> {
        // Before there are threads, which then leave it to the one that asks for it.
        let window = self.work.tty.then(Window::listen).transpose();
        let window = window.map_err(Failure::io("listen for changes of the terminal's size"))?;
        let interrupt = Interrupt::listen()?;
        let begun = Instant::now();
        let builder = builder.on_event(tell);
        let session = builder.start().wait()?;
        interrupt.session_started(session.id());
        let ran = self.work(&session, &interrupt, report.is_json(), window);
        let end = end(&session, self.rm);
        let total = begun.elapsed();
        let (ran, snapshot) = match (ran, end) {
            (Ok(ran), Ok(snapshot)) => (ran, snapshot),
            (Ok(_), Err(error)) => return Err(error.into()),
            (Err(error), Ok(snapshot)) => {
                return Err(Failure::Command {
                    error: Box::new(error),
                    kept: kept(session.id(), snapshot.as_ref()),
                });
            }
            (Err(command), Err(error)) => {
                let command = Box::new(command);
                return Err(Failure::Both { error, command });
            }
        };
        // Ctrl-C is how a session that is held ends.
        let exit = if interrupt.is_asked() && !self.work.hold {
            i32::from(interrupt::STATUS)
        } else {
            ran.as_ref().map_or(0, |ran| ran.status.shell_code())
        };
        let value = describe(&session, snapshot.as_ref(), ran.as_ref(), exit, total);
        report.print(&value, String::new)?;
        if !report.is_json() {
            say(&kept(session.id(), snapshot.as_ref()));
        }
        Ok(ExitCode::from(u8::try_from(exit & 0xff).unwrap_or(1)))
    }

    /// Runs the command, if there is one and no task has failed, with the forwards open, between the copies in and out.
    fn work(
        &self,
        session: &Session,
        interrupt: &Interrupt,
        is_json: bool,
        window: Option<Window>,
    ) -> Result<Option<Ran>, Failure> {
        self.check_tasks(session, interrupt)?;
        if interrupt.is_asked() {
            return Ok(None);
        }
        self.copies.copy_in(session)?;
        let _until_it_ends = self.description.open_forwards(session)?;
        let ran = match &self.work.command[..] {
            [] if self.work.hold => return hold(session, interrupt, self.rm).map(|()| None),
            [] => None,
            command => Some(guest::run(session, interrupt, command, is_json, window)?),
        };
        if !interrupt.is_asked() {
            self.copies.copy_out(session)?;
        }
        Ok(ran)
    }

    /// Waits for the tasks. What was to follow does not if one has failed.
    fn check_tasks(&self, session: &Session, interrupt: &Interrupt) -> Result<(), Failure> {
        let tasks = loop {
            let tasks = session.tasks();
            if interrupt.is_asked() {
                return Ok(());
            }
            if tasks.iter().all(|task| task.state.is_ended()) {
                break tasks;
            }
            thread::sleep(LOOK_PAUSE);
        };
        // Those that were skipped needed the one that failed.
        let is_cause = |task: &TaskStatus| {
            !task.state.is_success() && !matches!(task.state, TaskState::Skipped { .. })
        };
        match tasks.into_iter().find(is_cause) {
            Some(TaskStatus { name, state, .. }) => Err(Failure::Task { name, state }),
            None => Ok(()),
        }
    }
}

/// Shows an event; the steps of a start only to who looks on.
fn tell(event: &Event) {
    if !matches!(event, Event::Starting { .. }) || io::stderr().is_terminal() {
        say(&event.to_string());
    }
}

/// Waits until somebody wants an end, or the session has come to one.
fn hold(session: &Session, interrupt: &Interrupt, rm: bool) -> Result<(), Failure> {
    let end = if rm {
        "throws it away"
    } else {
        "shuts it down"
    };
    say(&format!("session {} runs; Ctrl-C {end}", session.id()));
    // A guest that reboots or switches itself off is gone for a moment.
    let mut gone_since = None;
    while !interrupt.is_asked() {
        match session.status() {
            Status::Running | Status::Paused | Status::Rebooting | Status::Ending => {
                gone_since = None;
            }
            Status::GuestGone { reason } => {
                let since = *gone_since.get_or_insert_with(Instant::now);
                if since.elapsed() > GONE_PATIENCE {
                    return Err(Failure::Gone { reason });
                }
            }
            _ => return Ok(()),
        }
        thread::sleep(LOOK_PAUSE);
    }
    Ok(())
}

fn end(session: &Session, rm: bool) -> Result<Option<Snapshot>, Error> {
    if rm || session.status() == Status::Unremoved {
        return session.terminate().wait().map(|()| None);
    }
    let shutdown = session.shutdown_with_progress(Bar::default());
    match shutdown.wait() {
        // By its limits.
        Err(_) if session.status() == Status::Terminated => Ok(None),
        ended => ended.map(Some),
    }
}

/// What became of the session.
fn kept(id: &str, snapshot: Option<&Snapshot>) -> String {
    let Some(snapshot) = snapshot else {
        return format!("session {id} is thrown away");
    };
    let stored = size::show(snapshot.stored_bytes);
    let how = if snapshot.clean {
        "shut down"
    } else {
        "ended by force"
    };
    format!("session {id} is {how}, its disk is {snapshot}, {stored} more are stored")
}

fn describe(
    session: &Session,
    snapshot: Option<&Snapshot>,
    ran: Option<&Ran>,
    exit: i32,
    total: Duration,
) -> Value {
    let mut value = json!({
        "session": session.id(),
        "snapshot": snapshot.map(|snapshot| snapshot.digest),
        "timings_ms": timings(&session.timings(), ran.map(|ran| ran.elapsed), total),
        "exit": exit,
        "stdout": ran.map_or("", |ran| &ran.stdout),
        "stderr": ran.map_or("", |ran| &ran.stderr),
        "truncated": ran.is_some_and(|ran| ran.truncated),
    });
    if let Some(snapshot) = snapshot {
        value["disk_bytes"] = json!(snapshot.disk_bytes);
        value["new_chunks"] = json!(snapshot.new_chunks);
        value["new_bytes"] = json!(snapshot.new_bytes);
        value["stored_bytes"] = json!(snapshot.stored_bytes);
        value["clean"] = json!(snapshot.clean);
    }
    value
}

fn timings(timings: &Timings, command: Option<Duration>, total: Duration) -> Value {
    let steps = [
        ("import", timings.import),
        ("prepare", timings.prepare),
        ("start", timings.start),
        ("hello", timings.hello),
        ("ready", timings.ready),
        ("command", command),
        ("power_off", timings.power_off),
        ("commit", timings.commit),
        ("total", Some(total)),
    ];
    let made = steps
        .into_iter()
        .filter_map(|(name, time)| Some((name.to_owned(), json!(ms(time?)))));
    Value::Object(made.collect::<Map<_, _>>())
}
