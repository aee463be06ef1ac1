"""The shortest real stage: SFT of the embedded model, four teacher responses an update. A `trainer` belongs behind it."""

SFT = """
model:
  class_path: SFTModule
  init_args: {policy: {path: embedded/digits}, optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1.0e-3}}}
data:
  class_path: DemonstrationDataModule
  init_args: {path: embedded/digits/align.jsonl, batch_size: 4, response: teacher, num_workers: 0}
"""
