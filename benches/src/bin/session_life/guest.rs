//! A guest of busybox that is used as labs use theirs.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use benches::{GuestArgs, Latencies, Numbers};
use serde_json::json;
use session::{Session, Store};

use crate::process::Held;

const DISK_BYTES: u64 = 1 << 30;
const COMMANDS: usize = 1000;
const FILE_BYTES: usize = 64 << 20;
/// So many files of so many bytes, as in a source tree.
const FILES: usize = 1000;
const SMALL_BYTES: usize = 4096;

type Done = Result<(), Box<dyn Error>>;

pub(crate) fn run(args: &GuestArgs) -> Done {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path().join("store"))?;
    let builder = Session::from_image(&store, &*args.image).disk_bytes(DISK_BYTES);
    let session = args.prepare(builder)?.start().wait()?;
    report_start(&session);
    commands(&session)?;
    copies(&session, folder.path())?;
    live_snapshot(&session)?;
    shutdown(&session)
}

fn report_start(session: &Session) {
    let timings = session.timings();
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let report = json!({
        "name": "start",
        "prepare_seconds": seconds(timings.prepare),
        "start_seconds": seconds(timings.start),
        "hello_seconds": seconds(timings.hello),
        "ready_seconds": seconds(timings.ready),
    });
    println!("{report}");
}

fn sh(session: &Session, script: &str) -> Done {
    let output = session.command("sh").args(["-c", script]).output().wait()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{script}: {}", output.status).into()),
    }
}

fn commands(session: &Session) -> Done {
    // What is made once, at the first use, is no leak.
    for _ in 0..20 {
        sh(session, ":")?;
    }
    let before = Held::now()?;
    let mut times = Vec::with_capacity(COMMANDS);
    for _ in 0..COMMANDS {
        let begun = Instant::now();
        let output = session.command("true").output().wait()?;
        times.push(begun.elapsed());
        if !output.status.success() {
            return Err(format!("true: {}", output.status).into());
        }
    }
    let report = json!({
        "name": "commands",
        "times": Latencies::of(times),
        "before": before,
        "after": Held::now()?,
    });
    println!("{report}");
    Ok(())
}

fn copies(session: &Session, folder: &Path) -> Done {
    let (one, many) = (folder.join("one"), folder.join("many"));
    let mut bytes = vec![0; FILE_BYTES];
    Numbers::new(1).fill(&mut bytes);
    std::fs::write(&one, &bytes)?;
    std::fs::create_dir(&many)?;
    for (number, bytes) in bytes.chunks(SMALL_BYTES).take(FILES).enumerate() {
        std::fs::write(many.join(number.to_string()), bytes)?;
    }
    for (what, from, bytes) in [
        ("one", &one, FILE_BYTES),
        ("many", &many, FILES * SMALL_BYTES),
    ] {
        let (there, back) = (format!("/{what}"), folder.join("back"));
        let begun = Instant::now();
        session.copy_in(from, &*there).start().wait()?;
        report_copy(what, "in", bytes, begun);
        let begun = Instant::now();
        session.copy_out(&*there, &back).start().wait()?;
        report_copy(what, "out", bytes, begun);
        sh(session, &format!("rm -rf {there}; sync"))?;
        match what {
            "one" => std::fs::remove_file(&back)?,
            _ => std::fs::remove_dir_all(&back)?,
        }
    }
    Ok(())
}

fn report_copy(what: &str, direction: &str, bytes: usize, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let report = json!({"name": "copy", "what": what, "direction": direction, "bytes": bytes, "seconds": seconds});
    println!("{report}");
}

/// Changes so many MiB, which are written to the disk.
fn change(session: &Session, mebibytes: u32, to: &str) -> Done {
    sh(
        session,
        &format!("dd if=/dev/urandom of={to} bs=1M count={mebibytes} 2>/dev/null && sync"),
    )
}

/// A live snapshot of what lies on the disk already, and one while a program writes.
fn live_snapshot(session: &Session) -> Done {
    change(session, 16, "/quiet")?;
    report_snapshot(session, "quiet")?;
    let writes =
        "while :; do dd if=/dev/urandom of=/busy bs=1M count=16 conv=notrunc 2>/dev/null; done";
    let writer = session.command("sh").args(["-c", writes]).spawn().wait()?;
    std::thread::sleep(Duration::from_secs(1));
    report_snapshot(session, "busy")?;
    writer.control().kill();
    Ok(())
}

fn report_snapshot(session: &Session, what: &str) -> Done {
    let begun = Instant::now();
    let snapshot = session.snapshot().wait()?;
    let whole = begun.elapsed();
    let timings = session.timings();
    let report = json!({
        "name": "snapshot",
        "what": what,
        "new_bytes": snapshot.new_bytes,
        "freeze_seconds": timings.freeze.map(|time| time.as_secs_f64()),
        "stall_seconds": timings.stall.map(|time| time.as_secs_f64()),
        "seconds": whole.as_secs_f64(),
    });
    println!("{report}");
    Ok(())
}

fn shutdown(session: &Session) -> Done {
    change(session, 64, "/changed")?;
    let snapshot = session.shutdown().wait()?;
    let timings = session.timings();
    let report = json!({
        "name": "shutdown",
        "new_bytes": snapshot.new_bytes,
        "power_off_seconds": timings.power_off.map(|time| time.as_secs_f64()),
        "commit_seconds": timings.commit.map(|time| time.as_secs_f64()),
    });
    println!("{report}");
    Ok(())
}
