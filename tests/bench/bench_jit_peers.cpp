/*
 * bench_jit_peers.cpp - asmjit and Xbyak as peers: one instruction again and
 * again, and the expression of bench_jit.h as an AVX loop written by hand.
 */
#include "bench_jit.h"

#include "bench.h"

#if defined(HY_HAVE_ASMJIT) && defined(__x86_64__)

#include <asmjit/asmjit.h>

namespace
{

namespace x86 = asmjit::x86;

double emit_asmjit(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count), total = 0;
    asmjit::JitRuntime runtime;

    for (uint64_t i = 0; i < n; i++) {
        asmjit::CodeHolder code;

        code.init(runtime.environment());
        x86::Assembler a(&code);
        uint64_t start = bench_now();
        for (int k = 0; k < EMITTED; k++)
            a.vaddps(x86::ymm3, x86::ymm(k % 8), x86::ymm1);
        total += bench_now() - start;
        if (code.textSection()->bufferSize() < 4 * EMITTED)
            bench_wrong("asmjit emitted");
    }
    return static_cast<double>(total) / static_cast<double>(n * EMITTED);
}

void expression(x86::Assembler &a)
{
    asmjit::Label loop = a.newLabel(), end = a.newLabel();
    auto y = [](unsigned n) { return x86::ymm(n); };
    auto at = [](const x86::Gp &base) { return x86::ptr(base, x86::rax, 2); };

    a.mov(x86::r8, x86::ptr(x86::rdi));
    a.mov(x86::r9, x86::ptr(x86::rdi, 8));
    a.mov(x86::r10, x86::ptr(x86::rdi, 16));
    a.xor_(x86::eax, x86::eax);
    a.bind(loop);
    a.cmp(x86::rax, x86::rdx);
    a.jae(end);
    a.vmovups(y(0), at(x86::r8));
    a.vmovups(y(1), at(x86::r9));
    a.vmovups(y(2), at(x86::r10));
    a.vaddps(y(3), y(0), y(1));
    a.vsubps(y(4), y(0), y(1));
    a.vmulps(y(3), y(3), y(4));
    a.vmulps(y(4), y(0), y(1));
    a.vaddps(y(4), y(4), y(2));
    a.vmulps(y(4), y(2), y(4));
    a.vaddps(y(3), y(3), y(4));
    a.vsubps(y(4), y(1), y(2));
    a.vmulps(y(4), y(4), y(0));
    a.vsubps(y(3), y(3), y(4));
    a.vmovups(at(x86::rsi), y(3));
    a.add(x86::rax, 8);
    a.jmp(loop);
    a.bind(end);
    a.vzeroupper();
    a.ret();
}

jit_function make(asmjit::JitRuntime &runtime)
{
    asmjit::CodeHolder code;
    jit_function f = nullptr;

    code.init(runtime.environment());
    x86::Assembler a(&code);
    expression(a);
    if (runtime.add(&f, &code) != 0)
        bench_wrong("asmjit expression");
    return f;
}

double compile_asmjit(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count), start;
    asmjit::JitRuntime runtime;

    start = bench_now();
    for (uint64_t i = 0; i < n; i++)
        runtime.release(make(runtime));
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

jit_function expression_asmjit(void)
{
    static asmjit::JitRuntime runtime;

    return make(runtime);
}

} // namespace

extern "C" {
extern double (*const asmjit_emit)(void *) = emit_asmjit;
extern double (*const asmjit_compile)(void *) = compile_asmjit;
extern jit_function (*const asmjit_expression)(void) = expression_asmjit;
}

#else

extern "C" {
extern double (*const asmjit_emit)(void *) = nullptr;
extern double (*const asmjit_compile)(void *) = nullptr;
extern jit_function (*const asmjit_expression)(void) = nullptr;
}

#endif

#if defined(HY_HAVE_XBYAK) && defined(__x86_64__)

#include <xbyak/xbyak.h>

namespace
{

struct emitter : Xbyak::CodeGenerator {
    emitter() : Xbyak::CodeGenerator(16 * EMITTED)
    {
    }
    void emit()
    {
        reset();
        for (int k = 0; k < EMITTED; k++)
            vaddps(ymm3, Xbyak::Ymm(k % 8), ymm1);
    }
};

double emit_xbyak(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count), start;
    emitter e;

    start = bench_now();
    for (uint64_t i = 0; i < n; i++)
        e.emit();
    start = bench_now() - start;
    if (e.getSize() < 4 * EMITTED)
        bench_wrong("xbyak emitted");
    return static_cast<double>(start) / static_cast<double>(n * EMITTED);
}

} // namespace

extern "C" {
extern double (*const xbyak_emit)(void *) = emit_xbyak;
}

#else

extern "C" {
extern double (*const xbyak_emit)(void *) = nullptr;
}

#endif
