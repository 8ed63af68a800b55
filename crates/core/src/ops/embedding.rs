//! Rows chosen from a table.

use crate::tape::{Backward, Op, Tape, Var};
use attendant_kernels::embedding::{embedding, embedding_backward};

impl Tape {
    /// table `[vocab, width]`, ids `[N]` -> the chosen rows `[N, width]`. A row may be chosen any number of times; its
    /// gradient is the sum.
    ///
    /// # Panics
    /// If an id is not below the rows of the table.
    pub fn embedding(&mut self, table: Var, ids: &[u32]) -> Var {
        let width = self.width(table);
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.rows(table)) {
            panic!("embedding: id {id} of a table of {} rows", self.rows(table));
        }
        if self.packed(table).is_some() {
            return self.packed_embedding(table, ids);
        }
        self.operation(&[table], ids.len(), width, Embedding { table, ids: ids.to_vec() }, |tape, y, _| {
            embedding(tape.processor().machine(), y, tape.value(table), ids, width);
        })
    }
}

struct Embedding {
    table: Var,
    ids: Vec<u32>,
}

impl Op for Embedding {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        let width = pass.width(self.table);
        if let Some(mut d) = pass.gradient(self.table) {
            embedding_backward(pass.machine(), d.values(), gradient, &self.ids, width);
            pass.put(d);
        }
    }
}
