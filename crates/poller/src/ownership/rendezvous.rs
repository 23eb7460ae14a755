//! Rendezvous hashing: each member has a score for each server, and the member with the highest score owns it. If a member
//! leaves, only its servers move, each to the member with the next score.

use sha2::{Digest, Sha256};

/// Returns the score of a member for a server: the first eight bytes of SHA-256 over the member, a zero byte and the
/// server, as a big-endian number. All versions of the program have to agree on it.
pub fn score(member: &str, server: &str) -> u64 {
    let mut hash = Sha256::new();
    // A zero byte is in no name, so two different pairs are never the same text.
    for part in [member.as_bytes(), &[0], server.as_bytes()] {
        hash.update(part);
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Returns how many of the members come before `me` in the order of a server; 0: `me` owns it. Of two members with the
/// same score the one whose name sorts first comes first.
pub fn rank(members: &[String], me: &str, server: &str) -> usize {
    let own = score(me, server);
    let is_before = |member: &&String| {
        let other = score(member, server);
        other > own || other == own && member.as_str() < me
    };
    let others = members.iter().filter(|member| *member != me);
    others.filter(is_before).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("p{n}")).collect()
    }

    /// Returns the index of the owner of each of these servers.
    fn owners(members: &[String], servers: &[String]) -> Vec<usize> {
        let owner = |server: &String| {
            let scores = members.iter().map(|member| score(member, server));
            let (_, index) = scores.zip(0..).max().unwrap();
            index
        };
        servers.iter().map(owner).collect()
    }

    fn servers(count: usize) -> Vec<String> {
        (0..count)
            .map(|n| format!("redis://10.0.{}.{}:7777", n / 250, n % 250))
            .collect()
    }

    #[test]
    fn score_never_changes() {
        assert_eq!(score("p1", "redis://10.0.0.1:7777"), 0x91a0_0547_5aa9_84a7);
    }

    #[test]
    fn owner_has_the_highest_score() {
        let (members, servers) = (members(5), servers(100));
        for (owner, server) in owners(&members, &servers).into_iter().zip(&servers) {
            assert_eq!(rank(&members, &members[owner], server), 0);
        }
    }

    #[test]
    fn servers_are_shared_evenly() {
        let servers = servers(10_000);
        for count in [3, 4, 6, 10] {
            let mut owned = vec![0; count];
            for owner in owners(&members(count), &servers) {
                owned[owner] += 1;
            }
            let even = 10_000.0 / count as f64;
            for owned in owned {
                let share = f64::from(owned) / even;
                assert!((0.9..1.1).contains(&share), "{count} members: {share}");
            }
        }
    }

    #[test]
    fn only_servers_of_the_member_that_leaves_move() {
        let servers = servers(10_000);
        for count in [4, 10] {
            let all = members(count);
            let before = owners(&all, &servers);
            let after = owners(&all[..count - 1], &servers);
            let mut inherited = vec![0; count - 1];
            for (before, after) in before.iter().zip(after) {
                match *before == count - 1 {
                    true => inherited[after] += 1,
                    false => assert_eq!(*before, after),
                }
            }
            // Those that move are shared evenly, too.
            let even = 10_000.0 / (count * (count - 1)) as f64;
            for inherited in inherited {
                let share = f64::from(inherited) / even;
                assert!((0.6..1.4).contains(&share), "{count} members: {share}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_rank_belongs_to_one_member(
            members in proptest::collection::btree_set("[a-z0-9-]{1,12}", 1..12),
            server in ".{0,40}",
        ) {
            let members: Vec<String> = members.into_iter().collect();
            let mut ranks: Vec<usize> = members.iter().map(|me| rank(&members, me, &server)).collect();
            ranks.sort();
            prop_assert_eq!(ranks, (0..members.len()).collect::<Vec<_>>());
        }

        #[test]
        fn order_of_the_list_does_not_matter(
            members in proptest::collection::btree_set("[a-z0-9-]{1,12}", 1..12),
            server in ".{0,40}",
        ) {
            let sorted: Vec<String> = members.into_iter().collect();
            let reversed: Vec<String> = sorted.iter().rev().cloned().collect();
            for me in &sorted {
                prop_assert_eq!(rank(&sorted, me, &server), rank(&reversed, me, &server));
            }
        }
    }
}
