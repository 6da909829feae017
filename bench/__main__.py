"""Run every measurement and print one table for each."""

from bench import serving, transcode, upload

for measurement in (transcode, serving, upload):
    measurement.main()
