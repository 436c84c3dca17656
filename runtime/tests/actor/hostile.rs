//! Programs that mean harm: each ends in an error of its own and leaves other actors, and mostly itself, at work.

use lethe_runtime::{engine::InvocationError, host::Payload, program::Limits};

use crate::{call, host::id_of, prints, request, start, with_actors, with_limits};

#[test]
fn sections_without_end_are_refused_and_the_actor_goes_on() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const errors = new Set();
                let refused = 0;
                for (let i = 0; ; i++) {
                    if (refused >= 100) break;
                    this.ctx.blockConcurrencyWhile(() => {}).catch((error) => { refused++; errors.add(error.message); });
                    if (i % 1000 === 0) await null;
                }
                return [refused, ...errors];
            }
            nothing() { return 'alive'; }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        let answer = call(&actor, "run", "[]").await.expect("it answers");
        assert!(answer.ends_with(",\"more than 10000 operations in flight\"]"), "{answer}");
        assert_eq!(call(&actor, "nothing", "[]").await, Ok("\"alive\"".into()));
    });
}

#[test]
fn values_nested_too_deeply_are_range_errors_on_both_ways() {
    let script = "
        const deep = (levels) => { let x = []; for (let i = 0; i < levels; i++) x = [x]; return x; };
        export class A extends DurableObject {
            echo(x) { return x; }
            deep() { return deep(1e6); }
            async store() { await this.ctx.storage.put('k', deep(1e6)); }
        }
        export default {
            async fetch(request, env) {
                const stub = env.A.getByName('a');
                const names = [];
                for (const attempt of [() => stub.echo(deep(1e6)), () => stub.deep(), () => stub.store()]) {
                    names.push(await attempt().then(() => 'no error', (error) => error.name));
                }
                names.push(JSON.stringify(await stub.echo(deep(3))));
                return new Response(names.join(' '));
            }
        }";
    with_actors(script, async |world| {
        let text = request(&world, "http://example.com/").await;
        assert_eq!(text, Ok("RangeError RangeError RangeError [[[[]]]]".into()));
    });
}

#[test]
fn results_that_look_like_promises_are_awaited_and_arguments_that_do_are_refused() {
    let script = r"
        export class A extends DurableObject {
            thenable() { return { then(resolve) { resolve('from then'); } }; }
            throwing() { return { get then() { throw new RangeError('mine'); } }; }
            echo(x) { return x; }
        }
        export default {
            async fetch(request, env) {
                const stub = env.A.getByName('a');
                const lines = [await stub.thenable()];
                lines.push(await stub.throwing().catch((error) => `${error.name}: ${error.message}`));
                lines.push(await stub.echo(Promise.resolve(1)).catch((error) => error.message));
                return new Response(lines.join('\n'));
            }
        }";
    with_actors(script, async |world| {
        let text = request(&world, "http://example.com/").await.unwrap_or_else(|error| panic!("{error:?}"));
        let expected = ["from then", "RangeError: mine", "argument 1 of echo(): #<Promise> could not be cloned."];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn json_arguments_cannot_reach_prototypes() {
    let script = "
        export class A extends DurableObject {
            run(x) { return [x.polluted ?? null, ({}).polluted ?? null, Object.getPrototypeOf(x) === Object.prototype]; }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        let args = r#"[{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}]"#;
        assert_eq!(call(&actor, "run", args).await, Ok("[null,null,true]".into()));
    });
}

#[test]
fn getters_that_change_what_is_being_serialized_do_no_harm() {
    prints(
        "export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                const list = [1, { get x() { list.length = 0; list.push('changed'); return 2; } }, 3];
                await storage.put('k', list);
                console.log((await storage.get('k')).length);
                const self = { get again() { storage.put('inner', 1); return 'ok'; } };
                await storage.put('outer', self);
                console.log((await storage.get('outer')).again, await storage.get('inner'));
                const buffer = new ArrayBuffer(8);
                const detach = [{ get x() { structuredClone(buffer, { transfer: [buffer] }); return 1; } }, buffer];
                await storage.put('detached', detach).catch((error) => console.log(error.name));
            }
        }",
        &["3", "ok 1", "DataCloneError"],
    );
}

#[test]
fn an_actor_that_never_answers_can_still_be_called_and_ended() {
    let script = "export class A extends DurableObject {
        never() { return new Promise(() => {}); }
        nothing() { return 'alive'; }
    }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        let never = crate::spawn(&actor, "never");
        assert_eq!(call(&actor, "nothing", "[]").await, Ok("\"alive\"".into()));
        actor.abort("operator");
        assert_eq!(never.await.expect("no panic"), Err(InvocationError::Aborted("operator".into())));
    });
}

#[test]
fn storage_names_may_hold_anything_and_stay_apart() {
    prints(
        r"export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                const names = ['', '\0', '\0\0', '__proto__', 'constructor', 'a\nb', '\u{10FFFF}', 'toString', '1', '01'];
                for (const name of names) await storage.put(name, name + '!');
                const map = await storage.get(names);
                console.log(map.size === names.length, names.every((name) => map.get(name) === name + '!'));
                console.log((await storage.list()).size === names.length, await storage.delete(names));
                await storage.put({ ['__proto__']: 'own', valueOf: 1 });
                console.log([...(await storage.list()).keys()].join());
            }
        }",
        &["true true", "true 10", "__proto__,valueOf"],
    );
}

#[test]
fn an_actor_that_dies_of_its_limits_keeps_only_whole_turns() {
    let script = "
        export class A extends DurableObject {
            async run() {
                await this.ctx.storage.put('kept', 1);
                await outside('/next-turn');
                this.ctx.storage.put('lost', 1);
                const hoard = [];
                for (;;) hoard.push(new Array(1e5).fill(hoard.length));
            }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        let error = call(&actor, "run", "[]").await.expect_err("it runs out of memory");
        assert_eq!(error.to_string(), "exceeded memory");
        assert_eq!(world.actor(&id_of("a")).storage.batches(), [vec!["put kept"]]);
    });
}

#[test]
fn what_a_program_has_on_its_way_outside_of_its_heap_is_bounded() {
    let script = "
        export class A extends DurableObject {
            async hold() { await this.ctx.storage.get('k'); }
            take(bytes) { return bytes.length; }
        }
        export default {
            async fetch(request, env) {
                const stub = env.A.getByName('a');
                const calls = [];
                for (let i = 0; i < 5; i++) {
                    calls.push(stub.take(new Uint8Array(30 * 1024 * 1024)).catch((error) => `${error.name}: ${error.message}`));
                }
                return new Response(await Promise.race(calls));
            }
        }";
    with_limits(Limits { memory_mb: 1024, ..Limits::default() }, script, async |world| {
        world.holds.hold("call take");
        let text = request(&world, "http://example.com/").await;
        assert_eq!(text, Ok("RangeError: the arguments of calls in flight exceed 134217728 bytes".into()));
        world.holds.hold("get");
        let actor = start(&world).await;
        let hold = crate::spawn(&actor, "hold");
        world.holds.until("get", 1).await;
        let large = || Payload::Json(format!("[\"{}\"]", "x".repeat(30 << 20)));
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let (actor, args) = (actor.clone(), large());
                tokio::spawn(async move { actor.call("take", args).await })
            })
            .collect();
        crate::until(|| actor.waiting() == 4, "the calls are at the gate").await;
        let refused = InvocationError::Overloaded("the arguments of calls that wait exceed 134217728 bytes".into());
        assert_eq!(actor.call("take", large()).await, Err(refused));
        world.holds.release("get");
        for call in calls {
            assert_eq!(call.await.expect("no panic"), Ok(Payload::Json("31457280".into())));
        }
        hold.await.expect("no panic").expect("it works");
    });
}

#[test]
fn a_list_of_more_than_an_isolate_could_take_is_refused_and_a_part_of_it_is_not() {
    let script = "
        export class A extends DurableObject {
            async fill() {
                const value = 'x'.repeat(131000);
                for (let i = 0; i < 1100; i++) await this.ctx.storage.put(`k${i}`, value);
            }
            async list(limit) {
                return this.ctx.storage.list({ limit }).then((map) => map.size, (error) => error.message);
            }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        call(&actor, "fill", "[]").await.expect("it works");
        world.holds.hold("list");
        for (limit, expected) in [
            ("[]", "\"more than 134217728 bytes of records were read at once; read fewer, or use a limit\""),
            ("[100]", "100"),
        ] {
            let list = tokio::spawn({
                let actor = actor.clone();
                async move { call(&actor, "list", limit).await }
            });
            world.holds.until("list", 1).await;
            world.holds.release("list");
            assert_eq!(list.await.expect("no panic"), Ok(expected.into()));
        }
    });
}

#[test]
fn reads_beyond_what_storage_may_do_at_once_wait_in_line_and_all_come_back() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const names = Array.from({ length: 100 }, (_, i) => 'k' + i);
                await this.ctx.storage.put('k7', 7);
                const reads = Array.from({ length: 50 }, () => this.ctx.storage.get(names));
                reads.push(this.ctx.storage.list(), this.ctx.storage.get('k7'));
                const sizes = (await Promise.all(reads)).map((read) => read.size ?? read);
                return sizes.reduce((sum, size) => sum + size);
            }
        }";
    with_actors(script, async |world| {
        world.holds.hold("get");
        world.holds.hold("list");
        let actor = start(&world).await;
        let run = crate::spawn(&actor, "run");
        world.holds.until("get", 51).await;
        world.holds.until("list", 1).await;
        world.holds.release_all("list");
        world.holds.release_all("get");
        assert_eq!(run.await.expect("no panic"), Ok("58".into()));
    });
}
