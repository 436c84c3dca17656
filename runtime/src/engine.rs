//! The engine: threads that run JavaScript, isolates made ahead, and the ways to run a program.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    body::{self, Body},
    compile,
    driver::{Driver, Ends},
    gate::SECTION_TIMEOUT_MS,
    host::Host,
    instance::answer_within,
    invocation::{Event, Reply},
    platform,
    pool::Pool,
    program::Source,
    tasks::Tasks,
    threads::{Threads, Urgency},
    watchdog::Watchdog,
};

pub use crate::{
    error::{CompileError, InvocationError, Limit},
    instance::Instance,
    program::Program,
};

/// CPU time a worker's top level may use when it is compiled.
const STARTUP_CPU_MS_MAX: u64 = 5_000;

/// Sizes of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Turns that may be under way at the same time; a turn that would be one more waits. As many as there are processors
    /// run, and those beside them that take long.
    pub threads_max: usize,
    /// Pristine isolates kept ready.
    pub pristine: usize,
    /// Worker requests that may have an isolate at the same time; one more is refused as overloaded.
    pub isolates_max: usize,
    /// How long promises given to `waitUntil` may go on after the response is complete or the client has left.
    pub wait_until_ms: u64,
    /// How long an actor's `blockConcurrencyWhile` or `transaction` may run before the actor is reset, milliseconds.
    pub section_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads_max: 128,
            pristine: 8,
            isolates_max: 1024,
            wait_until_ms: 30_000,
            section_timeout_ms: SECTION_TIMEOUT_MS,
        }
    }
}

/// Which actor an instance is.
#[derive(Clone, Debug)]
pub struct ActorStart {
    /// Exported class.
    pub class_name: String,
    /// The actor's id, 64 lower-case hex digits.
    pub id: String,
    /// The name the id was made from, if known.
    pub name: Option<String>,
}

/// Handle of a running engine. Needs the tokio runtime it was started in for as long as it is used.
#[derive(Clone)]
pub struct Engine {
    threads: Threads,
    pool: Pool,
    tasks: Tasks,
    /// Drivers of actors. They run until their instances are dropped, so `idle` does not wait for them.
    actors: Tasks,
    watchdog: Watchdog,
    isolates: Arc<Semaphore>,
    wait_until: Duration,
    section_timeout: Duration,
}

impl Engine {
    /// Initializes V8 and starts the threads. Must be called inside a tokio runtime.
    pub fn start(config: Config) -> Self {
        platform::initialize();
        let tasks = Tasks::new();
        let threads = Threads::new(config.threads_max);
        let pool = Pool::new(config.pristine, threads.clone(), tasks.clone());
        Self {
            threads,
            pool,
            tasks,
            actors: Tasks::new(),
            watchdog: Watchdog::start(),
            isolates: Arc::new(Semaphore::new(config.isolates_max)),
            wait_until: Duration::from_millis(config.wait_until_ms),
            section_timeout: Duration::from_millis(config.section_timeout_ms),
        }
    }

    /// Compiles a worker and keeps its code cache. Top-level code runs once, to find exports and early errors.
    pub async fn compile(&self, source: Source) -> Result<Arc<Program>, CompileError> {
        let lost = || CompileError("internal error: the compiler's isolate was lost".into());
        let isolate = self.pool.take(source.limits.memory_mb).await.ok_or_else(lost)?;
        let watchdog = self.watchdog.clone();
        let budget = Duration::from_millis(source.limits.cpu_ms.min(STARTUP_CPU_MS_MAX));
        let job = move || watchdog.guard(isolate.guard(), budget, || compile::compile(&isolate, source)).0;
        self.threads.run(Urgency::Start, job).await.map_err(|_| lost())?
    }

    /// Runs the worker's `fetch` handler in an isolate that never saw a request and dies after this one.
    ///
    /// Dropping the future or the response's body means that the client has left: the invocation is cancelled, except
    /// for what it gave to `waitUntil`.
    pub async fn fetch(
        &self,
        program: &Arc<Program>,
        entrypoint: Option<&str>,
        request: http::Request<Body>,
        host: Arc<dyn Host>,
    ) -> Result<http::Response<Body>, InvocationError> {
        let (reply, answer) = oneshot::channel();
        let entrypoint = entrypoint.map(str::to_owned);
        let event = Event::Fetch { entrypoint, request, reply: Reply::Response(reply) };
        let left = CancellationToken::new();
        let guard = left.clone().drop_guard();
        let response = self.run(program, event, host, left, answer).await?;
        // The client has left when the body is dropped.
        Ok(response.map(|body| body::holding(body, guard)))
    }

    /// Runs the worker's `scheduled` handler.
    pub async fn scheduled(
        &self,
        program: &Arc<Program>,
        cron: &str,
        scheduled_time_ms: u64,
        host: Arc<dyn Host>,
    ) -> Result<(), InvocationError> {
        let (reply, answer) = oneshot::channel();
        let event = Event::Scheduled { cron: cron.to_owned(), scheduled_time_ms, reply: Reply::Done(reply) };
        self.run(program, event, host, CancellationToken::new(), answer).await
    }

    /// Runs one Worker event in an isolate of its own.
    async fn run<T>(
        &self,
        program: &Arc<Program>,
        event: Event,
        host: Arc<dyn Host>,
        left: CancellationToken,
        answer: oneshot::Receiver<Result<T, InvocationError>>,
    ) -> Result<T, InvocationError> {
        let permit = self.permit()?;
        let started = Instant::now();
        let mut driver = self.driver(program).await?;
        let wall = program.limits.wall_ms.map(Duration::from_millis);
        let ends = Ends { wall: wall.map(|wall| started + wall), wait_until: self.wait_until };
        let kill = driver.kill();
        let program = program.clone();
        let span = tracing::info_span!("invocation", id = %Uuid::now_v7(), worker = %program.name);
        let work = async move {
            match driver.boot(program.clone(), host, event).await {
                Ok(()) => driver.run_worker(program, ends, left).await,
                Err(reason) => driver.end(reason).await,
            }
            drop(permit);
        };
        self.tasks.spawn(work.instrument(span));
        let ended = || Err(kill.reason().unwrap_or_else(|| InvocationError::exception("the isolate ended")));
        answer_within(wall, &kill, answer).await.unwrap_or_else(ended)
    }

    /// Makes an actor's isolate and runs its constructor.
    pub async fn instantiate(
        &self,
        program: &Arc<Program>,
        start: ActorStart,
        host: Arc<dyn Host>,
    ) -> Result<Instance, InvocationError> {
        let (reply, answer) = oneshot::channel();
        let mut driver = self.driver(program).await?;
        let wall = program.limits.wall_ms.map(Duration::from_millis);
        let kill = driver.kill();
        let (class, actor) = (&start.class_name, &start.id);
        let span =
            tracing::info_span!("actor", incarnation = %Uuid::now_v7(), worker = %program.name, class, id = actor);
        let event = Event::Construct { start, section_timeout: self.section_timeout, reply: Reply::Done(reply) };
        if let Err(reason) = driver.boot(program.clone(), host, event).instrument(span.clone()).await {
            driver.end(reason.clone()).await;
            return Err(reason);
        }
        let instance = Instance::start(driver, wall, &self.actors, span);
        let ended = || Err(kill.reason().unwrap_or_else(|| InvocationError::exception("the isolate ended")));
        answer_within(wall, &kill, answer).await.unwrap_or_else(ended)?;
        Ok(instance)
    }

    /// Waits until all isolates of Worker requests have ended, `waitUntil` included. For a graceful stop.
    pub async fn idle(&self) {
        self.tasks.idle().await;
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, InvocationError> {
        let permit = self.isolates.clone().try_acquire_owned();
        permit.map_err(|_| InvocationError::Overloaded("all isolates are taken".into()))
    }

    async fn driver(&self, program: &Program) -> Result<Driver, InvocationError> {
        let isolate = self.pool.take(program.limits.memory_mb).await;
        let isolate = isolate.ok_or_else(|| InvocationError::Overloaded("no thread can make an isolate".into()))?;
        Ok(Driver::new(isolate, &program.limits, self.threads.clone(), self.watchdog.clone()))
    }
}
