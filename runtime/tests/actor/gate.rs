//! The input gate seen from JavaScript: what may enter while storage is awaited, and what may not.

use http_body_util::BodyExt;
use lethe_runtime::{body, engine::InvocationError, program::Limits};

use crate::{call, host::id_of, spawn, spawn_until, start, with_actors, with_limits};

/// Read-modify-write with an `await` between, and a second method that prints that it entered.
const COUNTER: &str = "
    export class A extends DurableObject {
        async add() {
            console.log('add');
            const n = (await this.ctx.storage.get('n')) ?? 0;
            console.log('got ' + n);
            await this.ctx.storage.put('n', n + 1);
            return n + 1;
        }
        async addConcurrently() {
            console.log('add');
            const n = (await this.ctx.storage.get('n', { allowConcurrency: true })) ?? 0;
            console.log('got ' + n);
            await this.ctx.storage.put('n', n + 1);
            return n + 1;
        }
        entered() { console.log('entered'); }
    }";

#[test]
fn overlapping_read_modify_writes_do_not_interleave() {
    with_actors(COUNTER, async |world| {
        world.holds.hold("get");
        let actor = start(&world).await;
        let calls: Vec<_> = (0..3).map(|_| spawn(&actor, "add")).collect();
        for _ in 0..3 {
            world.holds.until("get", 1).await;
            world.holds.release("get");
        }
        let mut counts = Vec::new();
        for call in calls {
            counts.push(call.await.expect("no panic").expect("add works"));
        }
        counts.sort_unstable();
        assert_eq!(counts, ["1", "2", "3"]);
        assert_eq!(world.log(), ["add", "got 0", "add", "got 1", "add", "got 2"]);
    });
}

#[test]
fn with_allow_concurrency_they_do_interleave() {
    with_actors(COUNTER, async |world| {
        world.holds.hold("get");
        let actor = start(&world).await;
        let calls = [spawn(&actor, "addConcurrently"), spawn(&actor, "addConcurrently")];
        world.holds.until("get", 2).await;
        world.holds.release_all("get");
        for call in calls {
            assert_eq!(call.await.expect("no panic").expect("it works"), "1", "both read 0");
        }
        assert_eq!(world.log(), ["add", "add", "got 0", "got 0"]);
    });
}

#[test]
fn a_call_that_comes_while_storage_is_awaited_enters_after_the_turn_that_awaited() {
    with_actors(COUNTER, async |world| {
        let (actor, add) = spawn_until(&world, "add", "get").await;
        let entered = spawn(&actor, "entered");
        crate::until(|| actor.waiting() == 1, "the call is at the gate").await;
        assert_eq!(world.log(), ["add"]);
        world.holds.release("get");
        entered.await.expect("no panic").expect("it works");
        add.await.expect("no panic").expect("it works");
        assert_eq!(world.log(), ["add", "got 0", "entered"]);
    });
}

#[test]
fn timers_and_replies_to_fetch_wait_while_storage_is_awaited() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const timer = new Promise((resolve) => setTimeout(() => { console.log('timer'); resolve(); }, 1));
                const reply = outside('/x').then(() => console.log('reply'));
                await this.ctx.storage.get('k');
                console.log('storage');
                await Promise.all([timer, reply]);
            }
        }";
    with_actors(script, async |world| {
        world.holds.hold("get");
        world.holds.hold("outside /x");
        let actor = start(&world).await;
        let run = spawn(&actor, "run");
        world.holds.until("get", 1).await;
        world.holds.until("outside /x", 1).await;
        world.holds.release("outside /x");
        crate::until(|| actor.waiting() == 2, "timer and reply are at the gate").await;
        assert_eq!(world.log(), [""; 0]);
        world.holds.release("get");
        run.await.expect("no panic").expect("it works");
        assert_eq!(world.log()[0], "storage");
        assert_eq!(world.log().len(), 3);
    });
}

#[test]
fn a_timer_that_waits_at_the_gate_can_still_be_cleared() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const timer = setTimeout(() => console.log('timer'), 1);
                await this.ctx.storage.get('k');
                clearTimeout(timer);
                console.log('cleared');
            }
            nothing() {}
        }";
    with_actors(script, async |world| {
        let (actor, run) = spawn_until(&world, "run", "get").await;
        crate::until(|| actor.waiting() == 1, "the timer is at the gate").await;
        world.holds.release("get");
        run.await.expect("no panic").expect("it works");
        call(&actor, "nothing", "[]").await.expect("the timer before it has had its turn");
        assert_eq!(world.log(), ["cleared"]);
    });
}

#[test]
fn the_gate_is_open_during_an_outbound_request() {
    let script = "
        export class A extends DurableObject {
            async run() { await outside('/x'); console.log('reply'); }
            entered() { console.log('entered'); }
        }";
    with_actors(script, async |world| {
        let (actor, run) = spawn_until(&world, "run", "outside /x").await;
        call(&actor, "entered", "[]").await.expect("it enters while the reply is away");
        world.holds.release("outside /x");
        run.await.expect("no panic").expect("it works");
        assert_eq!(world.log(), ["entered", "reply"]);
    });
}

#[test]
fn an_actor_that_calls_one_that_calls_it_back_does_not_dead_lock() {
    let script = "
        export class A extends DurableObject {
            async run() { return `a(${await this.env.B.getByName('b').ask()})`; }
            async back() { return `back ${await this.ctx.storage.get('k')}`; }
        }
        export class B extends DurableObject {
            async ask() { return `b(${await this.env.A.getByName('a').back()})`; }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        assert_eq!(call(&actor, "run", "[]").await.expect("it answers"), "\"a(b(back undefined))\"");
    });
}

#[test]
fn sync_resolves_when_storage_says_so_and_lets_others_enter_meanwhile() {
    let script = "
        export class A extends DurableObject {
            async run() { await this.ctx.storage.put('k', 1); await this.ctx.storage.sync(); console.log('synced'); }
            entered() { console.log('entered'); }
        }";
    with_actors(script, async |world| {
        let (actor, run) = spawn_until(&world, "run", "sync").await;
        call(&actor, "entered", "[]").await.expect("it enters");
        world.holds.release("sync");
        run.await.expect("no panic").expect("it works");
        assert_eq!(world.log(), ["entered", "synced"]);
        assert_eq!(world.actor(&id_of("a")).storage.batches(), [vec!["put k"]]);
    });
}

#[test]
fn an_exception_in_a_handler_leaves_the_instance_alive() {
    let script = "
        export class A extends DurableObject {
            n = 0;
            fail() { this.n++; throw new RangeError('mine'); }
            get() { return this.n; }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        let error = call(&actor, "fail", "[]").await.expect_err("it throws");
        assert!(error.to_string().contains("RangeError: mine"), "{error}");
        assert_eq!(call(&actor, "get", "[]").await.expect("the same instance answers"), "1");
        assert_eq!(actor.broken(), None);
    });
}

#[test]
fn a_turn_that_is_stopped_gives_no_answer_and_closes_no_batch() {
    // The answer is given in the turn's first microtasks; the turn then goes on for ever.
    let script = "
        export class A extends DurableObject {
            run() {
                let turns = 0;
                const later = () => {
                    if (++turns === 100) { console.log('spinning'); outside('/spinning'); for (;;); }
                    Promise.resolve().then(later);
                };
                later();
                this.ctx.storage.put('k', 1);
                return 'answer';
            }
        }";
    with_actors(script, async |world| {
        let (actor, run) = spawn_until(&world, "run", "outside /spinning").await;
        assert_eq!(world.log(), [""; 0], "lines wait for the end of the turn, like answers");
        actor.abort("operator");
        assert_eq!(run.await.expect("no panic"), Err(InvocationError::Aborted("operator".into())));
        assert_eq!(world.actor(&id_of("a")).storage.batches(), Vec::<Vec<String>>::new());
        assert_eq!(world.log(), ["spinning"], "what was printed is not lost");
    });
}

#[test]
fn a_body_that_is_closed_in_a_turn_that_is_stopped_breaks_off() {
    // The end is written in the turn's first microtasks; the turn then goes on for ever.
    let script = "
        export class A extends DurableObject {
            fetch() { return new Response(new ReadableStream({ start: (stream) => (this.stream = stream) })); }
            run() {
                let turns = 0;
                const later = () => {
                    if (++turns === 100) { outside('/spinning'); for (;;); }
                    Promise.resolve().then(later);
                };
                this.stream.close();
                later();
            }
        }";
    with_actors(script, async |world| {
        world.holds.hold("outside /spinning");
        let actor = start(&world).await;
        let request = http::Request::get("http://actor/").body(body::empty()).expect("a valid request");
        let response = actor.fetch(request).await.expect("a response");
        let run = spawn(&actor, "run");
        world.holds.until("outside /spinning", 1).await;
        actor.abort("operator");
        assert_eq!(run.await.expect("no panic"), Err(InvocationError::Aborted("operator".into())));
        let broken = response.into_body().collect().await.expect_err("the turn that ended it never was");
        assert_eq!(broken.to_string(), "the worker ended before its body was complete");
    });
}

#[test]
fn calls_that_wait_at_the_gate_have_a_cpu_budget_each() {
    let script = "
        export class A extends DurableObject {
            async hold() { await this.ctx.storage.get('k'); }
            work() { const end = Date.now() + 100; while (Date.now() < end); return 'done'; }
        }";
    with_limits(Limits { cpu_ms: 300, ..Limits::default() }, script, async |world| {
        let (actor, hold) = spawn_until(&world, "hold", "get").await;
        let calls: Vec<_> = (0..8).map(|_| spawn(&actor, "work")).collect();
        crate::until(|| actor.waiting() == 8, "all calls are at the gate").await;
        world.holds.release("get");
        for call in calls {
            assert_eq!(call.await.expect("no panic"), Ok("\"done\"".into()), "800 ms together, 300 for each");
        }
        hold.await.expect("no panic").expect("it works");
    });
}

#[test]
fn each_event_has_console_output_and_requests_of_its_own() {
    let script = "
        export class A extends DurableObject {
            run() { console.log('x'.repeat(100_000)); }
            async many() { for (let i = 0; i < 6000; i++) await outside('/x'); return 'done'; }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        for count in 1..=5 {
            call(&actor, "run", "[]").await.expect("it works");
            assert_eq!(world.log().len(), count);
        }
        for _ in 0..2 {
            assert_eq!(call(&actor, "many", "[]").await, Ok("\"done\"".into()));
        }
    });
}

#[test]
fn timers_fire_while_calls_keep_coming() {
    let script = "
        export class A extends DurableObject {
            fired = false;
            start() { setTimeout(() => { this.fired = true; }, 5); }
            asked() { return this.fired; }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        call(&actor, "start", "[]").await.expect("it works");
        let deadline = std::time::Instant::now() + crate::hold::DEADLINE;
        loop {
            let calls: Vec<_> = (0..50).map(|_| spawn(&actor, "asked")).collect();
            let mut fired = false;
            for call in calls {
                fired |= call.await.expect("no panic").expect("it works") == "true";
            }
            if fired {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "the timer never fired");
        }
    });
}

#[test]
fn a_million_reads_that_are_never_awaited_end_in_an_error_and_not_in_the_process() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const reads = [];
                for (let i = 0; i < 1e6; i++) reads.push(this.ctx.storage.get('k' + i).catch((error) => error.message));
                await Promise.race(reads);
                return 'no error';
            }
            nothing() { return 'alive'; }
        }";
    with_actors(script, async |world| {
        world.holds.hold("get");
        let actor = start(&world).await;
        let answer = call(&actor, "run", "[]").await;
        // Which of two bounds comes first depends on the heap: operations in flight, or memory.
        match answer {
            Ok(text) => {
                assert_eq!(text, "\"no error\"");
                world.holds.release_all("get");
                assert_eq!(call(&actor, "nothing", "[]").await.expect("it goes on"), "\"alive\"");
            }
            Err(error) => assert_eq!(error.to_string(), "exceeded memory"),
        }
    });
}
