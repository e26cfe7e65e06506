//! What goes wrong meanwhile.

use super::{count, entries_from, Campaign, Entry, JOINING, NAMES};
use converge_ledger_cluster::{
    connect, kill_process, node, node_options, subscribe, wait_until, Direction, Proxy, Server,
    Shutdown, Subscription,
};
use fastrand::Rng;
use postgres::error::SqlState;
use postgres::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What goes wrong, by the thread that started the servers.
pub struct Chaos<'a> {
    pub campaign: &'a Campaign,
    pub nodes: &'a mut Vec<Server>,
    pub network: &'a mut Vec<Proxy>,
    pub random: Rng,
}

/// Each once in a round.
pub const FAILURES: [fn(&mut Chaos); 12] = [
    |chaos| chaos.disturb(&chaos.campaign.tally.cuts, Proxy::cut),
    |chaos| chaos.disturb(&chaos.campaign.tally.cuts, Proxy::cut),
    |chaos| {
        let stall = |proxy: &Proxy| proxy.stall(Direction::ToServer);
        chaos.disturb(&chaos.campaign.tally.stalls, stall);
    },
    |chaos| {
        let stall = |proxy: &Proxy| proxy.stall(Direction::FromServer);
        chaos.disturb(&chaos.campaign.tally.stalls, stall);
    },
    |chaos| {
        let delay = |proxy: &Proxy| proxy.delay(Duration::from_millis(20));
        chaos.disturb(&chaos.campaign.tally.delays, delay);
    },
    |chaos| chaos.heal(),
    |chaos| chaos.heal(),
    |chaos| chaos.kill_postmaster(),
    |chaos| chaos.kill_worker(),
    |chaos| chaos.end_worker(),
    |chaos| chaos.restart(),
    |chaos| chaos.take_over(),
];

impl Chaos<'_> {
    /// Lets these failures happen, in an order of their own.
    pub fn fail(&mut self, failures: &mut [fn(&mut Chaos)]) {
        self.random.shuffle(failures);
        for failure in failures {
            self.wait_for_progress();
            failure(self);
        }
    }

    pub fn wait_for_progress(&mut self) {
        let campaign = self.campaign;
        let goal = campaign.transactions.load(Ordering::Relaxed) + self.random.usize(50..400);
        wait_until("the writers have made progress", || {
            campaign.finished() || campaign.transactions.load(Ordering::Relaxed) >= goal
        });
    }

    fn disturb(&mut self, counter: &AtomicU64, how: impl FnOnce(&Proxy)) {
        how(self.random.choice(&*self.network).expect("a proxy"));
        count(counter);
    }

    pub fn heal(&mut self) {
        self.network.iter().for_each(Proxy::heal);
        count(&self.campaign.tally.heals);
    }

    fn some_node(&mut self) -> &mut Server {
        let number = self.random.usize(..self.nodes.len());
        &mut self.nodes[number]
    }

    fn kill_postmaster(&mut self) {
        let node = self.some_node();
        node.kill_postmaster();
        node.restart();
        count(&self.campaign.tally.postmasters_killed);
    }

    fn restart(&mut self) {
        let node = self.some_node();
        node.stop(Shutdown::Fast);
        node.restart();
        count(&self.campaign.tally.restarts);
    }

    /// Kills the worker of a subscription, by which the server drops everything and recovers.
    fn kill_worker(&mut self) {
        let node = self.some_node();
        let ready = || node.log().matches("ready to accept connections").count();
        let before = ready();
        let victim = some_worker(node);
        kill_process(victim);
        // One that has ended by itself meanwhile is no longer listed; one that was killed stays so until the recovery.
        let listed = "SELECT FROM pg_stat_activity WHERE pid = $1";
        wait_until("the server has recovered", || {
            let activity = connect(&node.config("ledger"))
                .and_then(|mut client| client.query_opt(listed, &[&victim]));
            ready() > before || activity.is_ok_and(|row| row.is_none())
        });
        count(&self.campaign.tally.workers_killed);
    }

    fn end_worker(&mut self) {
        let node = self.some_node();
        let victim = some_worker(node);
        let mut client = node.connect();
        let ended = client.execute("SELECT pg_terminate_backend($1)", &[&victim]);
        ended.expect("a superuser");
        count(&self.campaign.tally.workers_ended);
    }

    /// A node takes over a context of another, which goes on appending until it learns of it.
    fn take_over(&mut self) {
        let campaign = self.campaign;
        wait_until("a context was taken over", || {
            let appending: Vec<_> = campaign.appending().iter().cloned().collect();
            let (owner, context) = self.random.choice(&appending).expect("a context");
            let node = self.random.usize(..self.nodes.len());
            if node == *owner || campaign.appending().contains(&(node, context.clone())) {
                return false;
            }
            let known = !campaign.record().taken_over.insert(context.clone());
            match take_over(&self.nodes[node], context) {
                Ok(entries) => {
                    campaign.record().acknowledged.extend(entries);
                    campaign.appending().insert((node, context.clone()));
                    true
                }
                Err(error) => {
                    // It has not heard of the context, has a gap in it, or owns it already.
                    let refused = error.code().is_some_and(|code| {
                        [
                            SqlState::UNDEFINED_OBJECT,
                            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                        ]
                        .contains(code)
                    });
                    assert!(refused, "{context}: {error:?}");
                    if !known {
                        campaign.record().taken_over.remove(context);
                    }
                    false
                }
            }
        });
        count(&campaign.tally.take_overs);
    }

    /// Another node joins: a whole copy from each, and from then on like any other.
    pub fn join(&mut self) {
        self.heal();
        let joining = node(JOINING, node_options());
        for (name, member) in NAMES.iter().zip(&*self.nodes) {
            let proxy = Proxy::start(member);
            let how = Subscription {
                proxy: Some(&proxy),
                ..Subscription::default()
            };
            subscribe(&joining, &format!("{JOINING}_from_{name}"), member, how);
            self.network.push(proxy);
            let name = format!("{name}_from_{JOINING}");
            subscribe(member, &name, &joining, Subscription::default());
        }
        let mut nodes = self.campaign.nodes.write().expect("no thread panicked");
        nodes.push(joining.config("ledger"));
        self.nodes.push(joining);
        count(&self.campaign.tally.joins);
    }
}

fn some_worker(node: &Server) -> i32 {
    let mut worker = None;
    wait_until("a subscription has a worker", || {
        let statement =
            "SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL ORDER BY random() LIMIT 1";
        let row = node.connect().query_opt(statement, &[]);
        worker = row.expect("statistics").map(|row| row.get(0));
        worker.is_some()
    });
    worker.expect("waited for")
}

fn take_over(node: &Server, context: &str) -> Result<Vec<Entry>, Error> {
    let mut client = node.connect();
    let mut transaction = client.transaction()?;
    let statement = "SELECT ledger_takeover($1, 'its owner is gone')";
    let sequence = transaction.query_one(statement, &[&context])?.get(0);
    let entries = entries_from(&mut transaction, context, sequence)?;
    transaction.commit()?;
    Ok(entries)
}
