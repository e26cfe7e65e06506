//! Nodes that replicate to each other, by PostgreSQL's own publications and subscriptions over TCP.

use crate::proxy::Proxy;
use crate::server::{Options, Server};
use crate::wait::wait_until;
use std::net::SocketAddr;

/// What a server needs to be a node among others; it notices a silent network within seconds. So it does for connections
/// that have not said who they are: a server does not stop before those have ended.
pub fn node_options() -> Options {
    Options::default()
        .tcp()
        .set("wal_level", "logical")
        .set("max_wal_senders", "30")
        .set("max_replication_slots", "30")
        .set("max_worker_processes", "40")
        .set("max_logical_replication_workers", "20")
        .set("wal_retrieve_retry_interval", "200ms")
        .set("wal_sender_timeout", "5s")
        .set("wal_receiver_timeout", "5s")
        .set("authentication_timeout", "5s")
}

/// A new node of this name, which publishes what it originates as `ledger`.
pub fn node(name: &str, options: Options) -> Server {
    let server = Server::start(options);
    server.run(&format!("SELECT ledger_set_node('{name}')"));
    server.run(&format!(
        "CREATE PUBLICATION ledger FOR TABLE converge_ledger.entries WHERE (origin = '{name}')
         WITH (publish = 'insert')"
    ));
    server
}

/// A connection string for the database `ledger` of a server, or of that behind a proxy.
pub fn conninfo(address: SocketAddr) -> String {
    format!(
        "host={} port={} user=postgres dbname=ledger connect_timeout=5",
        address.ip(),
        address.port()
    )
}

/// How a subscription differs from the plainest: directly, to the publication `ledger`, with PostgreSQL's own options.
#[derive(Clone, Copy, Default)]
pub struct Subscription<'a> {
    /// The network to the publisher.
    pub proxy: Option<&'a Proxy>,
    /// Another publication.
    pub publication: Option<&'a str>,
    /// What follows WITH, without its parentheses.
    pub options: Option<&'a str>,
}

/// Creates the subscription of this name. Names are those of slots on the publisher as well, and so differ among its
/// subscribers.
pub fn subscribe(subscriber: &Server, name: &str, publisher: &Server, how: Subscription) {
    let address = how
        .proxy
        .map_or_else(|| publisher.address(), Proxy::address);
    let options = how
        .options
        .map_or_else(String::new, |options| format!("WITH ({options})"));
    subscriber.run(&format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{}' PUBLICATION {} {options}",
        conninfo(address),
        how.publication.unwrap_or("ledger"),
    ));
}

/// Subscribes every node to every other, as `<subscriber>_from_<publisher>`.
pub fn mesh(nodes: &[(&str, &Server)]) {
    for (name, subscriber, publisher) in pairs(nodes) {
        subscribe(subscriber, &name, publisher, Subscription::default());
    }
}

/// A mesh with a network between each two nodes and in each direction: of the subscriptions in their order.
pub fn mesh_through_proxies(nodes: &[(&str, &Server)]) -> Vec<Proxy> {
    let mut proxies = Vec::new();
    for (name, subscriber, publisher) in pairs(nodes) {
        let proxy = Proxy::start(publisher);
        let how = Subscription {
            proxy: Some(&proxy),
            ..Subscription::default()
        };
        subscribe(subscriber, &name, publisher, how);
        proxies.push(proxy);
    }
    proxies
}

/// Every two nodes in both orders: the name of the subscription, subscriber and publisher.
fn pairs<'a>(nodes: &[(&str, &'a Server)]) -> Vec<(String, &'a Server, &'a Server)> {
    let mut pairs = Vec::new();
    for (subscriber, to) in nodes {
        for (publisher, from) in nodes.iter().filter(|(name, _)| name != subscriber) {
            pairs.push((format!("{subscriber}_from_{publisher}"), *to, *from));
        }
    }
    pairs
}

/// Waits until the initial copies of all enabled subscriptions have ended.
pub fn wait_until_copied(subscriber: &Server) {
    let mut client = subscriber.connect();
    let statement = "
        SELECT NOT EXISTS (SELECT FROM pg_subscription_rel JOIN pg_subscription ON oid = srsubid
                           WHERE subenabled AND srsubstate <> 'r')";
    wait_until("the initial copies have ended", || {
        client.query_one(statement, &[]).expect("states").get(0)
    });
}
