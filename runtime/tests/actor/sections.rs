//! `ctx.blockConcurrencyWhile`.

use lethe_runtime::engine::{Config, InvocationError};

use crate::{call, host::id_of, prints, spawn, spawn_until, start, with_actors, with_engine};

#[test]
fn a_section_in_the_constructor_delays_the_first_call() {
    let script = "
        export class A extends DurableObject {
            constructor(ctx, env) {
                super(ctx, env);
                ctx.blockConcurrencyWhile(async () => {
                    this.greeting = (await outside('/greeting'))[0];
                    console.log('ready');
                });
                console.log('constructed');
            }
            run() { console.log('call'); return this.greeting; }
        }";
    with_actors(script, async |world| {
        let (actor, run) = spawn_until(&world, "run", "outside /greeting").await;
        crate::until(|| actor.waiting() == 1, "the call is at the gate").await;
        assert_eq!(world.log(), ["constructed"]);
        world.holds.release("outside /greeting");
        assert_eq!(run.await.expect("no panic").expect("it works"), "\"/greeting\"");
        assert_eq!(world.log(), ["constructed", "ready", "call"]);
    });
}

#[test]
fn only_what_a_section_began_enters_while_it_runs_and_its_result_arrives_before_others() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const before = outside('/before').then(() => console.log('before'));
                const result = await this.ctx.blockConcurrencyWhile(async () => {
                    console.log('section');
                    await outside('/inside');
                    console.log('inside');
                    await new Promise((resolve) => setTimeout(resolve, 1));
                    console.log('timer');
                    return 'result';
                });
                console.log(result);
                await before;
            }
            other() { console.log('other'); }
        }";
    with_actors(script, async |world| {
        world.holds.hold("outside /inside");
        world.holds.hold("outside /before");
        let actor = start(&world).await;
        let run = spawn(&actor, "run");
        world.holds.until("outside /inside", 1).await;
        world.holds.release("outside /before");
        let other = spawn(&actor, "other");
        crate::until(|| actor.waiting() == 2, "the reply from before and the call are at the gate").await;
        world.holds.release("outside /inside");
        run.await.expect("no panic").expect("it works");
        other.await.expect("no panic").expect("it works");
        let log = world.log();
        assert_eq!(log[..4], ["section", "inside", "timer", "result"]);
        assert_eq!(log.len(), 6);
    });
}

#[test]
fn a_section_runs_after_the_turn_that_asked_for_it_and_sections_run_one_after_another() {
    prints(
        "export class A extends DurableObject {
            async run() {
                const section = (name) => this.ctx.blockConcurrencyWhile(async () => {
                    console.log(name + ' starts');
                    await this.ctx.storage.get('k');
                    console.log(name + ' ends');
                    return name;
                });
                const both = [section('one'), section('two')];
                console.log('asked');
                console.log((await Promise.all(both)).join());
            }
        }",
        &["asked", "one starts", "one ends", "two starts", "two ends", "one,two"],
    );
}

#[test]
fn a_section_inside_a_section_runs_at_once_and_the_outer_waits_for_it() {
    prints(
        "export class A extends DurableObject {
            async run() {
                await this.ctx.blockConcurrencyWhile(async () => {
                    console.log('outer');
                    const reply = outside('/x').then(() => console.log('reply'));
                    await this.ctx.blockConcurrencyWhile(async () => {
                        console.log('inner');
                        await outside('/y');
                        console.log('inner ends');
                    });
                    await reply;
                    console.log('outer ends');
                });
            }
        }",
        &["outer", "inner", "inner ends", "reply", "outer ends"],
    );
}

#[test]
fn a_section_that_throws_resets_the_actor_and_everybody_who_waits_is_told_why() {
    let script = "
        export class A extends DurableObject {
            async run() {
                try {
                    await this.ctx.blockConcurrencyWhile(async () => {
                        await outside('/x');
                        throw new Error('boom');
                    });
                } catch { console.log('must not be caught'); }
                console.log('must not go on');
            }
            other() { console.log('must not enter'); }
        }";
    with_actors(script, async |world| {
        let (actor, run) = spawn_until(&world, "run", "outside /x").await;
        let other = spawn(&actor, "other");
        crate::until(|| actor.waiting() == 1, "the call is at the gate").await;
        world.holds.release("outside /x");
        let reset = InvocationError::Aborted("a blockConcurrencyWhile() callback threw: Error: boom".into());
        assert_eq!(run.await.expect("no panic"), Err(reset.clone()));
        assert_eq!(other.await.expect("no panic"), Err(reset.clone()));
        assert_eq!(call(&actor, "other", "[]").await, Err(reset.clone()));
        assert_eq!(actor.broken(), Some(reset));
        assert_eq!(world.log(), ["[aborted] a blockConcurrencyWhile() callback threw: Error: boom"]);
    });
}

#[test]
fn a_section_that_waits_for_something_from_outside_of_it_is_ended_by_its_time_limit() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const before = outside('/before');
                await this.ctx.blockConcurrencyWhile(() => before);
                console.log('must not go on');
            }
            fine() { return this.ctx.blockConcurrencyWhile(async () => { await this.ctx.storage.get('k'); return 'fine'; }); }
        }";
    with_engine(Config { section_timeout_ms: 100, ..Config::default() }, script, async |world| {
        let actor = start(&world).await;
        assert_eq!(call(&actor, "fine", "[]").await, Ok("\"fine\"".into()));
        let Err(InvocationError::Aborted(reason)) = call(&actor, "run", "[]").await else { panic!("it dead-locks") };
        assert!(reason.contains("waited for too long"), "{reason}");
        assert_eq!(world.log(), [format!("[aborted] {reason}")]);
    });
}

#[test]
fn a_constructor_that_throws_gives_no_instance() {
    let script = "
        export class A extends DurableObject {
            constructor(ctx, env) { super(ctx, env); throw new TypeError('not today'); }
        }";
    with_actors(script, async |world| {
        let Err(error) = world.start("A", &id_of("a")).await else { panic!("the constructor threw") };
        assert!(error.to_string().contains("TypeError: not today"), "{error}");
    });
}

#[test]
fn sixty_four_nested_sections_work_and_the_sixty_fifth_is_an_error_that_harms_nobody() {
    let script = "
        export class A extends DurableObject {
            async nest(depth) {
                if (depth === 0) return 0;
                return 1 + await this.ctx.blockConcurrencyWhile(() => this.nest(depth - 1));
            }
            async tooDeep() {
                const deep = async (depth) => {
                    if (depth > 0) return this.ctx.blockConcurrencyWhile(() => deep(depth - 1));
                    try { await this.ctx.blockConcurrencyWhile(() => {}); }
                    catch (error) { return error.message; }
                };
                return deep(64);
            }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        assert_eq!(call(&actor, "nest", "[64]").await, Ok("64".into()));
        let text = call(&actor, "tooDeep", "[]").await.expect("the error was caught inside");
        assert_eq!(text, "\"blockConcurrencyWhile() or transaction() calls are nested too deeply (limit 64)\"");
        assert_eq!(call(&actor, "nest", "[1]").await, Ok("1".into()));
    });
}

#[test]
fn what_is_not_a_function_is_refused_without_a_reset() {
    prints(
        "export class A extends DurableObject {
            async run() {
                try { await this.ctx.blockConcurrencyWhile(7); } catch (error) { console.log(error.message); }
            }
        }",
        &["blockConcurrencyWhile() needs a function"],
    );
}

#[test]
fn abort_ends_the_turn_at_once_and_a_new_instance_starts_over() {
    let script = "
        let made = 0;
        export class A extends DurableObject {
            n = ++made;
            async run() { this.ctx.storage.put('k', 1); this.ctx.abort('enough'); console.log('must not go on'); }
            get() { return this.n; }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        let reset = InvocationError::Aborted("enough".into());
        assert_eq!(call(&actor, "run", "[]").await, Err(reset.clone()));
        assert_eq!(actor.broken(), Some(reset));
        assert_eq!(world.log(), ["[aborted] enough"]);
        world.evict(&id_of("a"));
        assert_eq!(call(&start(&world).await, "get", "[]").await, Ok("1".into()), "a module of its own");
    });
}
