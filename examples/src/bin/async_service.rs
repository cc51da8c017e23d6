//! Sessions over HTTP, with axum and Tokio: `async_service STORE [--listen ADDRESS] [--kernel FILE] [--modules DIR]`.
//!
//! ```text
//! POST   /sessions               {"image": "docker://alpine:3.22", "id": "lab"}   creates one and starts it
//! GET    /sessions               all of the store's
//! POST   /sessions/ID/exec       {"argv": ["uname", "-a"]}                        runs a command
//! POST   /sessions/ID/shutdown   keeps its disk
//! POST   /sessions/ID/resume     goes on from there
//! DELETE /sessions/ID            throws it away
//! ```
//!
//! On SIGTERM and SIGINT it answers what is under way, and shuts all sessions down. There is no authentication: it
//! listens on loopback unless told otherwise.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};
use session::{Error, ErrorKind, Housekeeping, Kernel, Session, SessionBuilder, Status, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

#[derive(Parser)]
struct Args {
    /// The folder of images and sessions.
    store: PathBuf,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The kernel to boot; without it the one in STORE/kernel, or the host's own.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// The folder of the kernel's modules.
    #[arg(long, requires = "kernel")]
    modules: Option<PathBuf>,
}

/// What all requests share.
struct Service {
    store: Store,
    kernel: Option<Kernel>,
    /// The sessions that run here. Calls of one wait for one another; those that ended by themselves go when they are
    /// looked for.
    running: Mutex<HashMap<String, Arc<Session>>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("async_service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let kernel = match (args.kernel, args.modules) {
        (Some(kernel), Some(modules)) => Some(Kernel::from_path(kernel)?.with_modules(modules)),
        (Some(kernel), None) => Some(Kernel::from_path(kernel)?),
        (None, _) => None,
    };
    let service = Arc::new(Service {
        store: Store::open(&args.store)?,
        kernel,
        running: Mutex::default(),
    });
    // What ended while no service ran is seen to now, and what expires later.
    let _housekeeper = service.store.keep_house(Housekeeping::default(), |kept| {
        if let Err(error) = kept {
            eprintln!("async_service: could not keep house: {error}");
        }
    })?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listener = TcpListener::bind(args.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let app = router(Arc::clone(&service));
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;
    service.shut_all_down().await;
    Ok(())
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/sessions", get(list).post(create))
        .route("/sessions/{id}", delete(terminate))
        .route("/sessions/{id}/exec", post(exec))
        .route("/sessions/{id}/shutdown", post(shutdown))
        .route("/sessions/{id}/resume", post(resume))
        .with_state(service)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSession {
    image: String,
    id: Option<String>,
    memory_mib: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    argv: Vec<String>,
}

async fn list(State(service): State<Arc<Service>>) -> Result<Json<Value>, Failure> {
    let sessions = service
        .store
        .sessions()?
        .into_iter()
        .map(|found| match found {
            Ok(session) => json!({ "id": session.id, "state": session.state.as_str() }),
            Err(unreadable) => json!({ "id": unreadable.id, "state": "unreadable" }),
        });
    Ok(Json(sessions.collect()))
}

async fn create(
    State(service): State<Arc<Service>>,
    Json(new): Json<NewSession>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let mut session = Session::from_image(&service.store, new.image);
    if let Some(id) = new.id {
        session = session.id(id);
    }
    if let Some(mib) = new.memory_mib {
        session = session.memory_mib(mib);
    }
    Ok((StatusCode::CREATED, service.start(session).await?))
}

async fn resume(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    service.start(Session::resume(&service.store, id)).await
}

async fn exec(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    Json(exec): Json<Exec>,
) -> Result<Json<Value>, Failure> {
    let session = service.session(&id)?;
    let Some((program, args)) = exec.argv.split_first() else {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "argv is empty"));
    };
    let output = session.command(program).args(args).output().await?;
    Ok(Json(json!({
        "status": output.status.to_string(),
        "stdout": String::from_utf8_lossy(&output.stdout),
        "stderr": String::from_utf8_lossy(&output.stderr),
    })))
}

async fn shutdown(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let session = service.session(&id)?;
    let snapshot = session.shutdown().await?;
    service.forget(&id, &session);
    Ok(Json(
        json!({ "id": id, "snapshot": snapshot.digest.to_string() }),
    ))
}

async fn terminate(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let running = service.running().remove(&id);
    match running {
        Some(session) => session.terminate().await?,
        None => service.store.remove_session(&id)?,
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Service {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, session: SessionBuilder) -> Result<Json<Value>, Failure> {
        let session = match &self.kernel {
            Some(kernel) => session.kernel(kernel.clone()),
            None => session,
        };
        let session = session.start().await?;
        let id = session.id().to_owned();
        self.running().insert(id.clone(), Arc::new(session));
        Ok(Json(json!({ "id": id, "state": "running" })))
    }

    /// Drops a session that has ended, unless another run of it is here.
    fn forget(&self, id: &str, ended: &Arc<Session>) {
        let mut running = self.running();
        if running.get(id).is_some_and(|one| Arc::ptr_eq(one, ended)) {
            running.remove(id);
        }
    }

    /// A session that runs here.
    fn session(&self, id: &str) -> Result<Arc<Session>, Failure> {
        let found = self.running().get(id).cloned();
        if let Some(session) = found {
            match session.status() {
                Status::Stopped(_) | Status::Terminated => self.forget(id, &session),
                _ => return Ok(session),
            }
        }
        let state = self.store.session(id)?.state;
        let message = format!("session {id:?} does not run here: it is {state}");
        Err(Failure::new(StatusCode::CONFLICT, &message))
    }

    async fn shut_all_down(&self) {
        let running: Vec<_> = self.running().drain().collect();
        let mut shutdowns = JoinSet::new();
        for (id, session) in running {
            shutdowns.spawn(async move { (id, session.shutdown().await) });
        }
        while let Some(ended) = shutdowns.join_next().await {
            match ended {
                Ok((id, Ok(snapshot))) => println!("{id} is {snapshot}"),
                // Its disk is kept, and `resume` goes on from it.
                Ok((id, Err(error))) => eprintln!("{id} was not shut down: {error}"),
                Err(error) => eprintln!("a shutdown failed: {error}"),
            }
        }
    }
}

/// What a client is told.
struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, message: &str) -> Self {
        let message = message.to_owned();
        Self { status, message }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::Busy => StatusCode::CONFLICT,
            ErrorKind::Image | ErrorKind::Command => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Registry | ErrorKind::Guest => StatusCode::BAD_GATEWAY,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Quota => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, &error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.message }));
        (self.status, body).into_response()
    }
}
