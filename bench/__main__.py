"""Run every measurement and print one table for each."""

from bench import captioner, serving, transcode, upload

for measurement in (transcode, serving, upload, captioner):
    measurement.main()
