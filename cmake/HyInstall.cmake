# What is installed, and how CMake and pkg-config find it.
include_guard()
include(GNUInstallDirs)
