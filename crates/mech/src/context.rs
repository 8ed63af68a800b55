//! What a mechanism sees of the call it is in: the tape, the batch, and the planes of its layer.

mod attend;

use crate::batch::{Batch, Sequence};
use crate::observer::{NamedRows, Observer};
use crate::rotary::Rotary;
use attendant_core::ops::{Rope, Span};
use attendant_core::{Error, Result, Tape, Var};
use attendant_state::{Growth, PlaneStore, SequenceState, StateLayout};
use std::ops::{Deref, DerefMut, Range};

/// Rows of every sequence: those that a plane holds, read in place, and new ones on the tape.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The new rows.
    pub new: Var,
    plane: Option<usize>,
    spans: Vec<Span>,
    /// Which sequences of the batch the spans are of.
    sequences: Vec<usize>,
}

impl Memory {
    /// Where the rows of every sequence stand, of a memory that is [`visible`](Context::visible): queries, and among the rows on
    /// the tape keys and their positions.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The same places with other rows on the tape, computed row by row from these.
    pub fn with_rows(&self, new: Var) -> Memory {
        Memory { new, ..self.clone() }
    }
}

/// Some sequences of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part(Vec<usize>);

impl Part {
    /// Whether it has no sequence.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The tape (to which it dereferences), where in a batch the rows stand, and the planes of one layer.
///
/// New rows are written to the planes by [`Context::commit`], after the layer has read: until then a ring still holds what
/// the chunk's later rows will overwrite, and a layer that fails has changed nothing.
pub struct Context<'a> {
    tape: &'a mut Tape,
    batch: &'a Batch,
    layout: StateLayout,
    states: &'a mut [&'a mut SequenceState],
    layer: usize,
    source: Option<Var>,
    pending: Vec<(usize, Var)>,
    observer: Option<&'a mut Observer>,
}

impl Deref for Context<'_> {
    type Target = Tape;
    fn deref(&self) -> &Tape {
        self.tape
    }
}

impl DerefMut for Context<'_> {
    fn deref_mut(&mut self) -> &mut Tape {
        self.tape
    }
}

impl<'a> Context<'a> {
    /// A call of layer `layer`, whose planes are `layout`. `states` holds one state per sequence, or none at all: then
    /// there is no past, and nothing is kept.
    ///
    /// # Errors
    /// If there are states, but not one per sequence at the sequence's position.
    pub fn new(
        tape: &'a mut Tape,
        batch: &'a Batch,
        layout: StateLayout,
        states: &'a mut [&'a mut SequenceState],
        layer: usize,
        source: Option<Var>,
    ) -> Result<Context<'a>> {
        let fits = states.is_empty()
            || states.len() == batch.sequences().len()
                && states.iter().zip(batch.sequences()).all(|(state, sequence)| state.position() == sequence.first);
        if !fits {
            let positions: Vec<usize> = states.iter().map(|state| state.position()).collect();
            let firsts: Vec<usize> = batch.sequences().iter().map(|sequence| sequence.first).collect();
            return Err(Error::State {
                plane: "position".into(),
                why: format!("batch starts at {firsts:?}, states are at {positions:?}"),
            });
        }
        Ok(Context { tape, batch, layout, states, layer, source, pending: Vec::new(), observer: None })
    }

    /// The same, telling an observer what the layer does. Costs time and memory: all probabilities are computed again, plainly.
    pub fn observed(self, observer: &'a mut Observer) -> Context<'a> {
        Context { observer: Some(observer), ..self }
    }

    /// Shows an observer some rows `[N, width]`, if there is one.
    pub fn show(&mut self, name: &'static str, rows: Var) {
        if let Some(observer) = &mut self.observer {
            let (width, values) = (self.tape.width(rows), self.tape.value(rows).to_vec());
            observer.rows.push(NamedRows { name, width, values });
        }
    }

    /// The batch.
    pub fn batch(&self) -> &'a Batch {
        self.batch
    }

    /// Source rows of every sequence that no plane holds yet.
    ///
    /// # Errors
    /// If the call has no source.
    pub fn source(&self) -> Result<Var> {
        self.source.ok_or_else(|| Error::State { plane: "source".into(), why: "the call gives no source rows".into() })
    }

    /// Rotates the heads of x `[N, heads * d_head]`, from column `start` of each, by the positions of the rows.
    pub fn rotate(&mut self, x: Var, heads: usize, start: usize, rotary: &Rotary) -> Var {
        let table = self.batch.rotary_table(rotary);
        let table = self.tape.shared(&table);
        let d_head = self.tape.width(x) / heads;
        self.tape.rope(x, table, Rope { heads, d_head, start, rotary: rotary.width, layout: rotary.layout() })
    }

    fn store(&self, sequence: usize, plane: usize) -> Option<&PlaneStore> {
        self.states.get(sequence).map(|state| state.layer(self.layer).plane(plane))
    }

    /// Adds rows to a plane, to be kept when the layer is done, and gives everything visible: old rows and new.
    ///
    /// # Errors
    /// If no such plane is declared, or it does not take these rows.
    pub fn remember(&mut self, name: &str, rows: Var) -> Result<Memory> {
        let plane = self.layout.index(name)?;
        let declared = &self.layout.planes()[plane];
        let source = declared.growth == Growth::PerSource;
        let place = |sequence: &Sequence| if source { sequence.source.clone() } else { sequence.rows.clone() };
        let want = self.batch.sequences().last().map_or(0, |sequence| place(sequence).end);
        let got = (self.tape.rows(rows), self.tape.width(rows));
        if got != (want, declared.width) || declared.growth == Growth::Constant {
            let got = format!("[{}, {}]", got.0, got.1);
            return Err(Error::shape(format!("plane {name}"), format!("[{want}, {}]", declared.width), got));
        }
        let spans = self.batch.sequences().iter().enumerate().map(|(i, sequence)| Span {
            rows: sequence.rows.clone(),
            q_first: sequence.first,
            k_rows: place(sequence),
            k_first: self.store(i, plane).map_or(if source { 0 } else { sequence.first }, PlaneStore::appended),
        });
        let sequences = (0..self.batch.sequences().len()).collect();
        let memory = Memory { new: rows, plane: Some(plane), spans: spans.collect(), sequences };
        self.pending.push((plane, rows));
        Ok(memory)
    }

    /// A memory as rows on the tape alone. Old rows are copied and no gradient flows to them; positions between kept sinks
    /// and a window, which no query sees, become zeros.
    pub fn visible(&mut self, memory: &Memory) -> Memory {
        let Some(plane) = memory.plane else { return memory.clone() };
        if (0..memory.spans.len()).all(|i| self.store(i, plane).is_none_or(|store| store.held().iter().all(Range::is_empty))) {
            return Memory { plane: None, ..memory.clone() };
        }
        let width = self.tape.width(memory.new);
        let (mut parts, mut spans, mut end) = (Vec::new(), Vec::new(), 0);
        for (i, span) in memory.spans.iter().enumerate() {
            let mut old = Vec::new();
            let mut first = span.k_first;
            if let Some(store) = self.store(i, plane) {
                let [kept, window] = store.held();
                store.read(&mut old);
                let hole = if kept.is_empty() { 0 } else { window.start - kept.end };
                old.splice(kept.len() * width..kept.len() * width, std::iter::repeat_n(0.0, hole * width));
                first = if kept.is_empty() { window.start } else { 0 };
            }
            if !old.is_empty() {
                parts.push(self.tape.constant(old.len() / width, width, &old));
            }
            if !span.k_rows.is_empty() {
                let rows: Vec<u32> = span.k_rows.clone().map(|row| row as u32).collect();
                parts.push(self.tape.embedding(memory.new, &rows));
            }
            let rows = old.len() / width + span.k_rows.len();
            spans.push(Span { k_rows: end..end + rows, k_first: first, ..span.clone() });
            end += rows;
        }
        Memory { new: self.tape.join_rows(&parts), plane: None, spans, sequences: memory.sequences.clone() }
    }

    /// The row of a constant plane, for every sequence: `[B, width]`; zeros where there is no past.
    ///
    /// # Errors
    /// If no such plane is declared.
    pub fn recall(&mut self, name: &str) -> Result<Var> {
        let plane = self.layout.index(name)?;
        let width = self.layout.planes()[plane].width;
        let count = self.batch.sequences().len();
        let mut rows = vec![0.0; count * width];
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            if let Some(store) = self.store(i, plane) {
                row.copy_from_slice(store.constant());
            }
        }
        Ok(self.tape.constant(count, width, &rows))
    }

    /// Replaces the row of a constant plane for every sequence, when the layer is done.
    ///
    /// # Errors
    /// If no such plane is declared, or the rows are not `[B, width]`.
    pub fn keep(&mut self, name: &str, rows: Var) -> Result<()> {
        let plane = self.layout.index(name)?;
        let want = (self.batch.sequences().len(), self.layout.planes()[plane].width);
        let got = (self.tape.rows(rows), self.tape.width(rows));
        if got != want {
            return Err(Error::shape(format!("plane {name}"), format!("{want:?}"), format!("{got:?}")));
        }
        self.pending.push((plane, rows));
        Ok(())
    }

    /// Parts the sequences by a question about each: those that answer yes, then the others.
    pub fn split(&self, question: impl Fn(&Sequence) -> bool) -> [Part; 2] {
        let (yes, no) = (0..self.batch.sequences().len()).partition(|&i| question(&self.batch.sequences()[i]));
        [Part(yes), Part(no)]
    }

    /// The rows of x `[N, width]` that belong to a part.
    pub fn narrow(&mut self, x: Var, part: &Part) -> Var {
        if part.0.len() == self.batch.sequences().len() {
            return x;
        }
        let sequences = self.batch.sequences();
        let rows: Vec<u32> = part.0.iter().flat_map(|&i| sequences[i].rows.clone()).map(|row| row as u32).collect();
        self.tape.embedding(x, &rows)
    }

    /// A memory whose queries are only those of a part, as [`Context::narrow`] gives them. Reads the past of the part alone.
    pub fn narrow_memory(&mut self, memory: &Memory, part: &Part) -> Memory {
        if part.0.len() == memory.spans.len() {
            return memory.clone();
        }
        let whole = self.visible(memory);
        let mut row = 0;
        let spans = part.0.iter().map(|&i| {
            let span = &whole.spans[i];
            row += span.rows.len();
            Span { rows: row - span.rows.len()..row, ..span.clone() }
        });
        Memory { spans: spans.collect(), sequences: part.0.clone(), ..whole }
    }

    /// The opposite of [`Context::narrow`]: rows of two parts in the order of the batch.
    pub fn join(&mut self, parts: [(&Part, Option<Var>); 2]) -> Var {
        let [(first, a), (second, b)] = parts;
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (Some(only), None) | (None, Some(only)) => return only,
            (None, None) => unreachable!("a batch has sequences"),
        };
        let joined = self.tape.join_rows(&[a, b]);
        let mut place = vec![0u32; self.batch.rows()];
        let sequences = self.batch.sequences();
        let rows = first.0.iter().chain(&second.0).flat_map(|&i| sequences[i].rows.clone());
        rows.enumerate().for_each(|(from, to)| place[to] = from as u32);
        self.tape.embedding(joined, &place)
    }

    /// Writes what the layer remembered and kept. Called once, after the layer has read.
    pub fn commit(self) {
        for (i, state) in self.states.iter_mut().enumerate() {
            let sequence = &self.batch.sequences()[i];
            for &(plane, rows) in &self.pending {
                let store = state.layer_mut(self.layer).plane_mut(plane);
                let width = self.tape.width(rows);
                let values = self.tape.value(rows);
                match store.plane().growth {
                    Growth::Constant => store.set_constant(&values[i * width..(i + 1) * width]),
                    Growth::PerSource => store.append(&values[sequence.source.start * width..sequence.source.end * width]),
                    _ => store.append(&values[sequence.rows.start * width..sequence.rows.end * width]),
                }
            }
        }
    }
}
