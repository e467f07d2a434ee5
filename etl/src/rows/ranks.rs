//! The position of a row: the rank of its id among the ids of its table.

use roaring::RoaringBitmap;

/// Ranks of ids in a set, from 1. Files are clustered by id, so the next id is mostly the last one plus one.
pub(super) struct Ranks<'a> {
    ids: &'a RoaringBitmap,
    last_id: u32,
    last_rank: u32,
}

impl<'a> Ranks<'a> {
    pub(super) fn new(ids: &'a RoaringBitmap) -> Ranks<'a> {
        Ranks { ids, last_id: 0, last_rank: 0 }
    }

    /// `None` if `id` is not in the set.
    pub(super) fn rank(&mut self, id: u32) -> Option<u32> {
        if !self.ids.contains(id) {
            return None;
        }
        let follows = id == self.last_id.wrapping_add(1) && self.last_id != 0;
        // Ids are positive ints: there are fewer than 2^31 of them.
        let rank = if follows { self.last_rank + 1 } else { self.ids.rank(id) as u32 };
        (self.last_id, self.last_rank) = (id, rank);
        Some(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_the_order_of_ids() {
        let ids = RoaringBitmap::from_iter([2, 3, 5, 9]);
        let mut ranks = Ranks::new(&ids);
        let found: Vec<_> = [2, 3, 9, 5, 4].map(|id| ranks.rank(id)).into();
        assert_eq!(found, [Some(1), Some(2), Some(4), Some(3), None]);
    }
}
