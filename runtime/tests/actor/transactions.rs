//! `ctx.storage.transaction`.

use crate::{call, host::id_of, prints, spawn, spawn_until, start, with_actors};

#[test]
fn a_transaction_keeps_its_writes_and_returns_its_result() {
    prints(
        "export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                console.log(await storage.transaction(async (txn) => {
                    await txn.put('a', 1);
                    await storage.put('b', 2);
                    return [...(await txn.list()).keys()].join();
                }));
                console.log([...(await storage.list()).keys()].join());
            }
        }",
        &["a,b", "a,b"],
    );
}

#[test]
fn a_transaction_that_throws_undoes_its_writes_and_the_actor_goes_on() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                await storage.put('a', 1);
                try {
                    await storage.transaction(async (txn) => {
                        await txn.put('a', 2);
                        await txn.delete('b');
                        await outside('/x');
                        throw new RangeError('undo');
                    });
                } catch (error) { console.log(error.name, error.message); }
                console.log(await storage.get('a'));
            }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        call(&actor, "run", "[]").await.expect("it works");
        assert_eq!(world.log(), ["RangeError undo", "1"]);
        assert_eq!(actor.broken(), None);
        assert_eq!(
            world.actor(&id_of("a")).storage.batches(),
            [vec!["put a"]],
            "nothing of the transaction is written"
        );
    });
}

#[test]
fn a_transaction_is_one_batch_however_many_turns_it_takes() {
    let script = "
        export class A extends DurableObject {
            async run() {
                await this.ctx.storage.transaction(async (txn) => {
                    await txn.put('a', 1);
                    await outside('/x');
                    await txn.put('b', 2);
                    await outside('/y');
                    await txn.put('c', 3);
                });
            }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        call(&actor, "run", "[]").await.expect("it works");
        assert_eq!(world.actor(&id_of("a")).storage.batches(), [vec!["put a", "put b", "put c"]]);
    });
}

#[test]
fn nothing_else_enters_while_a_transaction_is_open() {
    let script = "
        export class A extends DurableObject {
            async run() {
                await this.ctx.storage.transaction(async (txn) => {
                    await txn.put('n', 1);
                    await outside('/x');
                    await txn.put('n', 2);
                });
            }
            read() { return this.ctx.storage.get('n'); }
        }";
    with_actors(script, async |world| {
        let (actor, run) = spawn_until(&world, "run", "outside /x").await;
        let read = spawn(&actor, "read");
        crate::until(|| actor.waiting() == 1, "the call is at the gate").await;
        world.holds.release("outside /x");
        run.await.expect("no panic").expect("it works");
        assert_eq!(read.await.expect("no panic"), Ok("2".into()));
    });
}

#[test]
fn rollback_undoes_and_closes_the_transaction_for_further_use() {
    prints(
        "export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                await storage.put('a', 1);
                await storage.transaction(async (txn) => {
                    await txn.put('a', 2);
                    txn.rollback();
                    txn.rollback();
                    for (const use of [() => txn.get('a'), () => txn.put('a', 3), () => txn.list(), () => txn.delete('a')]) {
                        await use().catch((error) => console.log(error.message));
                    }
                });
                console.log(await storage.get('a'));
            }
        }",
        &[
            "Cannot get() on rolled back transaction",
            "Cannot put() on rolled back transaction",
            "Cannot list() on rolled back transaction",
            "Cannot delete() on rolled back transaction",
            "1",
        ],
    );
}

#[test]
fn an_inner_transaction_is_undone_alone_or_with_the_outer_one() {
    prints(
        "export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                const names = async () => console.log([...(await storage.list()).keys()].join());
                await storage.transaction(async (outer) => {
                    await outer.put('a', 1);
                    await storage.transaction(async (inner) => { await inner.put('b', 2); inner.rollback(); });
                    await storage.transaction(async (inner) => { await inner.put('c', 3); });
                });
                await names();
                await storage.transaction(async (outer) => {
                    await storage.transaction(async (inner) => { await inner.put('d', 4); });
                    outer.rollback();
                });
                await names();
                await storage.transaction(async (outer) => {
                    await storage.transaction(async () => {
                        try { outer.rollback(); } catch (error) { console.log(error.message); }
                    });
                });
            }
        }",
        &["a,c", "a,c", "Cannot roll back an outer transaction while a nested transaction is still running"],
    );
}

#[test]
fn an_inner_transaction_that_outlives_the_outer_closure_is_waited_for() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                let inner;
                await storage.transaction(async (txn) => {
                    const started = Promise.withResolvers();
                    inner = storage.transaction(async (txn) => {
                        started.resolve();
                        await outside('/x');
                        await txn.put('inner', 1);
                    });
                    await started.promise;
                    await txn.put('outer', 1);
                });
                await inner;
            }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        call(&actor, "run", "[]").await.expect("it works");
        assert_eq!(world.actor(&id_of("a")).storage.batches(), [vec!["put outer", "put inner"]]);
    });
}

#[test]
fn delete_all_is_refused_inside_a_transaction() {
    prints(
        "export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                await storage.put('a', 1);
                await storage.transaction(async (txn) => {
                    try { await txn.deleteAll(); } catch (error) { console.log(error.message); }
                    try { await storage.deleteAll(); } catch (error) { console.log(error.message); }
                });
                console.log((await storage.list()).size);
            }
        }",
        &["Cannot call deleteAll() within a transaction", "Cannot call deleteAll() within a transaction", "1"],
    );
}

#[test]
fn a_transaction_object_is_of_no_use_after_its_closure() {
    prints(
        "export class A extends DurableObject {
            async run() {
                let kept;
                await this.ctx.storage.transaction(async (txn) => { kept = txn; });
                await kept.put('a', 1).catch((error) => console.log(error.message));
                try { kept.rollback(); } catch (error) { console.log(error.message); }
            }
        }",
        &[
            "Cannot put() on transaction that has already committed: did you move `txn` outside of the closure?",
            "Cannot rollback() on transaction that has already committed: did you move `txn` outside of the closure?",
        ],
    );
}

#[test]
fn the_sixty_fifth_nested_transaction_is_an_error_and_nothing_is_lost() {
    let script = "
        export class A extends DurableObject {
            async run() {
                const { storage } = this.ctx;
                const nest = (depth) => storage.transaction(async (txn) => {
                    await txn.put('depth', depth);
                    if (depth === 65) return;
                    try { await nest(depth + 1); } catch (error) { console.log(depth, error.message); }
                });
                await nest(1);
                return await storage.get('depth');
            }
        }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        assert_eq!(call(&actor, "run", "[]").await, Ok("64".into()));
        let text = "64 blockConcurrencyWhile() or transaction() calls are nested too deeply (limit 64)";
        assert_eq!(world.log(), [text]);
        assert_eq!(world.actor(&id_of("a")).storage.batches().len(), 1);
    });
}
