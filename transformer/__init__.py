"""The captioner from scratch: sound in, timed words out; built, trained, exported and served from this folder.

Read in this order. The network and its loss: config, audio, tokenizer, phones, model, align, ctc. How it learns:
normalise, synth, augment, data, train. How it is used: lexicon, language_model, graph, decoding, segment, runtime.
What ships, and how good it is: export, tune, metrics, evaluate, ablate. All of it in order: build.
"""
