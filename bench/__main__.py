"""Run every measurement and print one table for each."""

from bench import captioner, live, packaging, quality, serving, transcode, upload, written

for measurement in (transcode, quality, live, packaging, written, serving, upload, captioner):
    measurement.main()
