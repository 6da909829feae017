"""Run every measurement and print one table for each."""

from bench import captioner, quality, serving, transcode, upload

for measurement in (transcode, quality, serving, upload, captioner):
    measurement.main()
