//! A whole snapshot to a registry and back: beside skopeo, which copies the same bytes to and from a folder.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::super::measure::{Measure, Report};
use super::super::peers;
use super::super::steps::Time;
use super::super::table::{Bound, Row, Unit, mebibytes};
use super::{Bed, Found, ratios};
use crate::bench::BenchError;
use crate::file_error::file_error;

pub(super) fn run(bed: &Bed) -> Result<Found, BenchError> {
    let Bed {
        steps,
        measure,
        images,
    } = bed;
    let store = steps.path("store")?;
    let snapshot = steps.prepare("importing the image", || {
        Report::of(measure.import(&images.first, &store, None))?.text("/snapshot")
    })?;
    let mut serving = None;
    let push = steps.measure("push", |_| {
        let to = serving.insert(Serving::start(measure)?).reference();
        Ok(vec![measure.push(&store, &snapshot, &to)])
    })?;
    let Some(full) = serving.as_ref() else {
        return Ok(Found::default());
    };
    let (from, layout) = (
        full.reference(),
        format!("oci:{}:v1", steps.place("layout").display()),
    );
    let pull = steps.measure("pull", |_| {
        Ok(vec![measure.pull(&steps.path("pulled")?, &from)])
    })?;
    let from = format!("docker://{from}");
    let skopeo_pull = steps.measure("skopeo copy from the registry", |_| {
        steps.path("layout")?;
        Ok(vec![peers::skopeo_copy(&from, &layout)])
    })?;
    let mut empty = None;
    let skopeo_push = steps.measure("skopeo copy to the registry", |_| {
        let to = empty.insert(Serving::start(measure)?).reference();
        Ok(vec![peers::skopeo_copy(&layout, &format!("docker://{to}"))])
    })?;
    let bytes = super::disk_usage(&steps.place("layout"))?;
    drop((serving, empty));
    for name in ["store", "pulled", "layout"] {
        steps.path(name)?;
    }
    let rows = vec![
        row("push", push, skopeo_push),
        row("full pull, durable", pull, skopeo_pull),
    ];
    Ok(Found {
        plots: vec![("registry-ratios", ratios(&rows))],
        rows,
        notes: vec![format!(
            "Snapshot: {} MiB of packs. The registry is docker-registry on this machine, without TLS; each push finds it \
             empty. Ours verifies and syncs what it pulls; skopeo does not sync.",
            mebibytes(bytes)
        )],
    })
}

fn row(work: &str, ours: Time, theirs: Time) -> Row {
    Row {
        work: work.to_owned(),
        ours: ours.to_string(),
        peer: "skopeo copy".to_owned(),
        theirs: theirs.to_string(),
        value: theirs.seconds / ours.seconds,
        unit: Unit::Faster,
        bound: Some(Bound::AtLeast(0.8)),
    }
}

/// A registry that ends when this is dropped.
struct Serving {
    host: String,
    child: Child,
    /// The registry ends when it is closed.
    input: Option<ChildStdin>,
    /// Where it says a last word.
    _output: Option<BufReader<ChildStdout>>,
}

impl Serving {
    fn start(measure: &Measure) -> Result<Self, BenchError> {
        let mut serve = measure.registry();
        let program = serve.get_program().to_owned();
        let failed = || file_error("start", program.as_ref());
        let mut child = serve
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed())?;
        let mut output = child.stdout.take().map(BufReader::new);
        let mut line = String::new();
        if let Some(output) = &mut output {
            output.read_line(&mut line).map_err(failed())?;
        }
        let input = child.stdin.take();
        let host = Report::parse(&serve, line.as_bytes())?.text("/host")?;
        Ok(Self {
            host,
            child,
            input,
            _output: output,
        })
    }

    fn reference(&self) -> String {
        format!("{}/bench/disk:v1", self.host)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.input.take());
        // Nothing is left to be done about one that does not end.
        let _ = self.child.wait();
    }
}
