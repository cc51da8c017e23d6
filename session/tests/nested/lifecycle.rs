//! What a session goes through between its start and its shutdown.

use std::io::Read;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use session::{
    Clock, ErrorKind, Event, IdleLimit, Limit, Limits, Session, SessionBuilder, SessionState,
    StartStep, Status, Store, TerminalSize,
};

use super::bed::{Bed, kernel, patient, sh};

/// Longer than a reboot or a shutdown takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);
const MINUTE: Duration = Duration::from_secs(60);

/// What a session has told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    fn by(&self, builder: SessionBuilder) -> SessionBuilder {
        let events = self.clone();
        builder.on_event(move |event| events.0.lock().unwrap().push(event.clone()))
    }

    fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    fn reboots(&self) -> usize {
        let is_reboot = |event: &&Event| matches!(event, Event::Rebooted { .. });
        self.events().iter().filter(is_reboot).count()
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn boot_id(session: &Session) -> String {
    sh(session, "cat /proc/sys/kernel/random/boot_id")
}

/// One guest for all of it: a boot costs more than what is tested.
#[test]
fn a_running_session_is_snapshotted_forked_paused_and_rebooted() {
    let bed = Bed::busybox();
    let told = Told::default();
    let builder = Session::from_snapshot(&bed.store, bed.image).id("live");
    let builder = told.by(patient(builder).kernel(kernel()));
    let session = builder.start().wait().unwrap();
    let state = || bed.store.session("live").unwrap().state;
    assert_eq!(state(), SessionState::Running);

    // Nothing of this is synced.
    sh(&session, "echo one > /note");
    let first = session.snapshot().wait().unwrap();
    assert!(first.clean && first.new_bytes > 0, "{first:?}");
    let timings = session.timings();
    let (freeze, stall) = (timings.freeze.unwrap(), timings.stall.unwrap());
    println!("freeze {freeze:?}, stall {stall:?}");
    assert!(stall < Duration::from_secs(2), "{stall:?}");
    bed.store.name_image("first", &first).unwrap();
    bed.check(first.digest);

    sh(&session, "echo two > /note");
    let fork = session.fork().wait().unwrap().id("fork");
    let fork = patient(fork).start().wait().unwrap();
    assert_eq!(sh(&fork, "cat /note"), "two\n");
    sh(&fork, "echo fork > /note");
    assert_eq!(sh(&session, "cat /note"), "two\n");
    fork.terminate().wait().unwrap();

    // Whoever changes what is noted of a session may take its time, and others may ask the session meanwhile.
    let (asked, is_asked) = mpsc::channel();
    let described = session.describe(move |about| {
        is_asked.recv_timeout(PATIENCE).unwrap();
        about.title = Some("a lab".into());
    });
    assert_eq!(session.status(), Status::Running);
    asked.send(()).unwrap();
    described.wait().unwrap();
    let about = bed.store.session("live").unwrap().about;
    assert_eq!(about.title.as_deref(), Some("a lab"));

    session.pause().wait().unwrap();
    session.pause().wait().unwrap();
    assert_eq!(
        (session.status(), state()),
        (Status::Paused, SessionState::Paused)
    );
    let late = session.command("true").status();
    std::thread::sleep(Duration::from_secs(1));
    let crash_consistent = session.snapshot().wait().unwrap();
    assert!(!crash_consistent.clean);
    session.unpause().wait().unwrap();
    session.unpause().wait().unwrap();
    assert!(late.wait().unwrap().success());
    assert_eq!(
        (session.status(), state()),
        (Status::Running, SessionState::Running)
    );

    let before = boot_id(&session);
    session.reboot().wait().unwrap();
    let after = boot_id(&session);
    assert_ne!(before, after);
    assert_eq!(
        (told.reboots(), sh(&session, "cat /note")),
        (1, "two\n".to_owned())
    );
    // From inside; the guest may be gone before the command has an answer.
    drop(session.command("reboot").status().wait());
    wait_until("the guest is up again", || {
        told.reboots() == 2 && session.status() == Status::Running
    });
    assert_ne!(boot_id(&session), after);
    assert_eq!(sh(&session, "cat /note"), "two\n");

    let (one, other) = (session.shutdown(), session.shutdown());
    let snapshot = one.wait().unwrap();
    assert_eq!(other.wait().unwrap(), snapshot);
    assert!(snapshot.clean);
    bed.check(snapshot.digest);
    assert_eq!(
        session.snapshot().wait().unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let kept = bed.start_from(first.digest, "kept");
    assert_eq!(sh(&kept, "cat /note"), "one\n");
}

/// A clock that goes on with the host's, and can be set forth.
#[derive(Debug)]
struct Forth {
    begun: Instant,
    more: Mutex<Duration>,
}

impl Forth {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            more: Mutex::default(),
        })
    }

    fn by(&self, time: Duration) {
        *self.more.lock().unwrap() += time;
    }
}

impl Clock for Forth {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_764_000_000) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed() + *self.more.lock().unwrap()
    }
}

fn limited(bed: &Bed, store: &Store, id: &str, limits: Limits, told: &Told) -> Session {
    let builder = Session::from_snapshot(store, bed.image).id(id);
    let builder = patient(builder).kernel(kernel()).limits(limits);
    told.by(builder).start().wait().unwrap()
}

fn is_stopped(session: &Session) -> bool {
    matches!(session.status(), Status::Stopped(_))
}

#[test]
fn a_session_is_warned_and_shut_down_at_the_end_of_its_time_wherever_it_spent_it() {
    let bed = Bed::busybox();
    let clock = Forth::new();
    let store = Store::open(bed.store.dir())
        .unwrap()
        .with_clock(Arc::<Forth>::clone(&clock));
    let told = Told::default();
    let session = limited(&bed, &store, "timed", Limits::default(), &told);
    clock.by(3 * 60 * MINUTE);
    sh(&session, "echo kept > /note; sync");
    // As if its process had died.
    drop(session);
    clock.by(2 * 60 * MINUTE);
    let session = told.by(patient(Session::resume(&store, "timed")));
    let session = session.start().wait().unwrap();
    let steps = [
        StartStep::Prepared,
        StartStep::Booting,
        StartStep::Configuring,
        StartStep::Ready,
    ];
    let began = steps.map(|step| Event::Starting { step });
    let is_step = |event: &Event| matches!(event, Event::Starting { .. });
    wait_until("its start is told", || {
        let steps: Vec<_> = told.events().into_iter().filter(is_step).collect();
        steps.ends_with(&began)
    });
    let size = TerminalSize {
        rows: 24,
        columns: 80,
    };
    let shown = session.command("sleep").arg("1000").terminal(size).spawn();
    let mut shown = shown.wait().unwrap().take_stdout().unwrap();
    let left = session.time_left().uptime.unwrap();
    assert!(left > 170 * MINUTE && left <= 180 * MINUTE, "{left:?}");
    clock.by(left - 5 * MINUTE);
    wait_until("it is warned", || {
        let is_warning = |event: &Event| matches!(event, Event::LimitNear { limit: Limit::Uptime, left } if *left <= 5 * MINUTE);
        told.events().iter().any(is_warning)
    });
    assert_eq!(session.status(), Status::Running);
    let (mut text, mut piece) = (String::new(), [0; 256]);
    while !text.contains("time is over in 5 minutes") {
        let count = shown.read(&mut piece).unwrap();
        assert_ne!(count, 0, "{text:?}");
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    // More time is given, and used up.
    let mut longer = Limits::default();
    longer.max_uptime = Some(10 * 60 * MINUTE);
    session.set_limits(longer).wait().unwrap();
    clock.by(6 * MINUTE);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(session.status(), Status::Running);
    clock.by(120 * MINUTE);
    wait_until("it is shut down", || is_stopped(&session));
    let info = store.session("timed").unwrap();
    assert_eq!(info.state, SessionState::Stopped);
    assert!(told.events().contains(&Event::LimitReached {
        limit: Limit::Uptime
    }));
    drop(session);
    // Its next run has all its time.
    let again = patient(Session::resume(&store, "timed"))
        .start()
        .wait()
        .unwrap();
    assert!(again.time_left().uptime.unwrap() > 599 * MINUTE);
    assert_eq!(sh(&again, "cat /note"), "kept\n");
    bed.shut_down(&again);
}

#[test]
fn a_session_that_nobody_uses_is_shut_down_and_one_that_works_is_not() {
    let bed = Bed::busybox();
    let clock = Forth::new();
    let store = Store::open(bed.store.dir())
        .unwrap()
        .with_clock(Arc::<Forth>::clone(&clock));
    let told = Told::default();
    let mut limits = Limits::none();
    limits.idle = Some(IdleLimit::after(20 * MINUTE));
    let session = limited(&bed, &store, "idle", limits, &told);
    let pass = |time: Duration| {
        clock.by(time);
        // The clock is looked at once a second.
        std::thread::sleep(Duration::from_millis(2500));
    };
    // A command that runs, though it does nothing.
    let command = session.command("sleep").arg("1000").spawn().wait().unwrap();
    pass(30 * MINUTE);
    assert_eq!(session.status(), Status::Running);
    command.control().kill();
    command.wait().wait().unwrap();
    pass(15 * MINUTE);
    session.touch();
    pass(Duration::ZERO);
    pass(15 * MINUTE);
    assert_eq!(session.status(), Status::Running);
    pass(10 * MINUTE);
    wait_until("it is shut down", || is_stopped(&session));
    assert!(
        told.events()
            .contains(&Event::LimitReached { limit: Limit::Idle })
    );
}
