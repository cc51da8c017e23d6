//! Container images as disks, and disks as content-addressed OCI artifacts.
