/*
 * throw_host.c - a C program that loads fiber_throw as a plug-in, and with it
 * the C++ runtime, if it has none itself. With LINKED it has the library
 * before; else that comes with the plug-in.
 */
#include <dlfcn.h>
#include <stdio.h>

#ifdef LINKED
#include <hyperion/hyperion.h>
#endif

int main(int argc, char **argv)
{
    char *arguments[] = {argv[0], NULL};
    int (*entry)(int, char **);
    void *plugin;

    if (argc != 2)
        return 64;
#ifdef LINKED
    if (hy_version()[0] == '\0')
        return 65;
#endif
    plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 66;
    }
    entry = (int (*)(int, char **))dlsym(plugin, "throw_plugin");
    return entry != NULL ? entry(1, arguments) : 67;
}
